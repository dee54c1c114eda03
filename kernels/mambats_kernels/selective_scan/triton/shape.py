"""How large a tile is: one table for all devices, and no search at run time."""

from typing import Any, NamedTuple


class Tile(NamedTuple):
    """T tokens by N states by D channels that a program holds at once, its warps, and the registers of a lane."""

    tokens: int
    states: int
    channels: int
    warps: int
    registers: int | None = None

    def blocks(self, share: int) -> int:
        """Programs that share the channels of a group."""
        return -(-share // self.channels)


def _power(size: int) -> int:
    """The least power of 2 that holds `size`."""
    return 1 << max(size - 1, 0).bit_length()


def chunk(states: int) -> int:
    """Give the tokens of a tile, which is also how many lie between saved states."""
    return 8 if states <= 32 else 4


def forward_tile(states: int) -> Tile:
    """Give the tile of the forward kernel for N states."""
    size = _power(states)
    return Tile(chunk(states), size, max(8, 32 // size), max(1, size // 32))


def backward_tile(states: int) -> Tile:
    """Give the tile of the backward kernel, which holds three times as many numbers at once."""
    size = _power(states)
    # Left alone, ptxas takes 238 registers on sm_90, for 8 programs on a multiprocessor; 168 let 12 in for 12 % more
    # instructions. (8, 2048, 1536, 16) has 11.6 for each of an H100.
    registers = 168 if size == 16 else None
    return Tile(chunk(states), size, max(8, 32 // size), max(1, size // 16), registers)


def saved_states(rows: Any, tokens: Any, states: int, packed: bool) -> Any:
    """Give how many states are saved: one a tile of tokens; packed rows round up once each."""
    each = chunk(states)
    return tokens // each + rows if packed else rows * ((tokens + each - 1) // each)
