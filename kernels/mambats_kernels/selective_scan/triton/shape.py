"""How large a tile is: one table for all devices, and no search at run time."""

from typing import Any, NamedTuple


class Tile(NamedTuple):
    """T tokens by N states by D channels that a program holds at once, and its warps."""

    tokens: int
    states: int
    channels: int
    warps: int

    def blocks(self, share: int) -> int:
        """Programs that share the channels of a group."""
        return -(-share // self.channels)


def _power(size: int) -> int:
    """The least power of 2 that holds `size`."""
    return 1 << max(size - 1, 0).bit_length()


def chunk(states: int) -> int:
    """Give the tokens of a tile, which is also how many lie between saved states."""
    return 8 if states <= 32 else 4


def _channels(states: int, wanted: int, share: int) -> int:
    """Give the channels of a tile: with fewer than 32 numbers a token, lanes would be left to time."""
    return min(max(wanted, 32 // states), _power(share))


def forward_tile(states: int, share: int) -> Tile:
    """Give the tile of the forward kernel for N states and `share` channels a group."""
    size = _power(states)
    if size <= 16:
        return Tile(chunk(states), size, _channels(size, 16, share), 1)
    return Tile(chunk(states), size, _channels(size, 8, share), max(1, size // 64))


def backward_tile(states: int, share: int) -> Tile:
    """Give the tile of the backward kernel, which holds three times as many numbers at once."""
    size = _power(states)
    return Tile(chunk(states), size, _channels(size, 8, share), max(1, size // 16))


def saved_states(rows: Any, tokens: Any, states: int, packed: bool) -> Any:
    """Give how many states are saved: one a tile of tokens; packed rows round up once each."""
    each = chunk(states)
    return tokens // each + rows if packed else rows * ((tokens + each - 1) // each)
