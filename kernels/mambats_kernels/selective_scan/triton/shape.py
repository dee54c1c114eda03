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
    # Swept on an H100, N = 16: with 16 channels a program 0.287 ms at (8, 2048, 1536), 0.304 with 8, 0.478 with 32.
    return Tile(chunk(states), size, 16 if size == 16 else max(8, 32 // size), max(1, size // 32))


def backward_tile(states: int) -> Tile:
    """Give the tile of the backward kernel, which holds three times as many numbers at once."""
    size = _power(states)
    if size == 16:
        # Swept on an H100 at (8, 2048, 1536) / (64, 512, 256) / (256, 96, 128): 2.44 / 0.644 / 0.279 ms; 8 channels,
        # one warp 2.12 / 0.740 / 0.311, and held to 168 registers 2.30 / 1.117 / 0.368. Half the partial sums are left.
        return Tile(chunk(states), 16, 16, 2)
    return Tile(chunk(states), size, max(8, 32 // size), max(1, size // 16))


def saved_states(rows: Any, tokens: Any, states: int, packed: bool) -> Any:
    """Give how many states are saved: one a tile of tokens; packed rows round up once each."""
    each = chunk(states)
    return tokens // each + rows if packed else rows * ((tokens + each - 1) // each)
