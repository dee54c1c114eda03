"""Space-filling curves: whole codes of whole cells, exact, many at once, on any device.

Cells (..., n) of an n-dimensional grid of 2^bits a side get codes (...) int64 from 0 to 2^(n bits) - 1, and back.
Sorted by code, cells that are near in space are mostly near in line: what makes a sequence model read a picture or a
sweep. Along the Hilbert curve each cell touches the one before; the Morton (z-order) curve jumps, and costs less.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

#: Ways to put cells in line. `_yx` follows the same curve with the first two axes swapped; `raster` is row by row;
#: `shuffled` is a fixed mess, the line that knows nothing of neighbours: what the others are measured against.
Order = Literal["hilbert", "hilbert_yx", "morton", "morton_yx", "raster", "shuffled"]
ORDERS: tuple[Order, ...] = ("hilbert", "hilbert_yx", "morton", "morton_yx", "raster", "shuffled")
ODD = 0x2545F4914F6CDD1D  # the multiplier of xorshift64* (Marsaglia, 2003; Vigna, 2016)


def encode_cells(cells: Tensor, bits: int, order: Order = "hilbert") -> Tensor:
    """Return the place of cells in line.

    Args:
        cells: Shape (..., n), int64, each from 0 to 2^bits - 1.
        bits: Of one axis; n bits is at most 63.
        order: The line.

    Returns:
        Codes (...) int64, unique to a cell.

    Raises:
        ValueError: If the order is unknown, cells are not int64, or codes would not fit 63 bits.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}: choose of {', '.join(ORDERS)}.")
    if order.endswith("_yx"):
        cells = torch.cat([cells[..., :2].flip(-1), cells[..., 2:]], -1)
    if order.startswith("hilbert"):
        return hilbert_encode(cells, bits)
    if order.startswith("morton"):
        return morton_encode(cells, bits)
    _check(cells, cells.shape[-1], bits)
    code = torch.zeros_like(cells[..., 0])
    for axis in reversed(cells.unbind(-1)):  # the last axis is the slowest: x runs along a row
        code = (code << bits) | axis
    return _shuffled(code, bits * cells.shape[-1]) if order == "shuffled" else code


def _shuffled(code: Tensor, bits: int) -> Tensor:
    """Return other codes of as many bits, each once: products with an odd number and shifts can be undone."""
    for _ in range(3):
        code = (code * ODD) & ((1 << bits) - 1)
        code = code ^ (code >> (bits + 1) // 2)
    return code


def morton_encode(cells: Tensor, bits: int) -> Tensor:
    """Interleave the bits of cells (..., n), those of the first axis highest.

    Source: G. M. Morton, A computer oriented geodetic data base, 1966.
    """
    n = cells.shape[-1]
    _check(cells, n, bits)
    code = torch.zeros_like(cells[..., 0])
    for axis, part in enumerate(cells.unbind(-1)):
        code |= _spread(part, n, bits) << (n - 1 - axis)
    return code


def morton_decode(codes: Tensor, axes: int, bits: int) -> Tensor:
    """Return the cells (..., axes) of Morton codes (...)."""
    _check(codes, axes, bits)
    return torch.stack([_gather(codes >> (axes - 1 - axis), axes, bits) for axis in range(axes)], -1)


def hilbert_encode(cells: Tensor, bits: int) -> Tensor:
    """Return codes along the Hilbert curve: cells of neighbouring codes differ by one in one axis.

    Source: J. Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707, 2004, AxestoTranspose.
    """
    n = cells.shape[-1]
    _check(cells, n, bits)
    x = list(cells.unbind(-1))
    for bit in range(bits - 1, 0, -1):
        for axis in range(n):
            _turn(x, axis, bit)
    for axis in range(1, n):  # Gray encode
        x[axis] = x[axis] ^ x[axis - 1]
    flips = torch.zeros_like(x[0])
    for bit in range(bits - 1, 0, -1):
        flips = flips ^ (((x[-1] >> bit) & 1) * ((1 << bit) - 1))
    return morton_encode(torch.stack([part ^ flips for part in x], -1), bits)


def hilbert_decode(codes: Tensor, axes: int, bits: int) -> Tensor:
    """Return the cells (..., axes) of Hilbert codes (...).

    Source: J. Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707, 2004, TransposetoAxes.
    """
    x = list(morton_decode(codes, axes, bits).unbind(-1))
    flips = x[-1] >> 1
    for axis in range(axes - 1, 0, -1):  # Gray decode
        x[axis] = x[axis] ^ x[axis - 1]
    x[0] = x[0] ^ flips
    for bit in range(1, bits):
        for axis in range(axes - 1, -1, -1):
            _turn(x, axis, bit)
    return torch.stack(x, -1)


def _turn(x: list[Tensor], axis: int, bit: int) -> None:
    """Invert the low bits of x[0] where x[axis] has the bit, else swap them with those of x[axis]."""
    low = (1 << bit) - 1
    has = ((x[axis] >> bit) & 1).bool()
    swap = ((x[0] ^ x[axis]) & low).masked_fill(has, 0)
    if axis:
        x[axis] = x[axis] ^ swap
    x[0] = x[0] ^ swap ^ (has * low)


@lru_cache(maxsize=64)
def _mask(axes: int, bits: int, block: int) -> int:
    """Bits 0 to bits - 1 in blocks of `block`, each `axes` times as far from the last as it is wide."""
    return sum(1 << (i // block * block * axes + i % block) for i in range(bits))


def _blocks(bits: int) -> list[int]:
    """Powers of two below `bits`, falling."""
    return [1 << k for k in range((bits - 1).bit_length() - 1, -1, -1)]


def _spread(x: Tensor, axes: int, bits: int) -> Tensor:
    """Move bit i to bit i * axes, halving blocks: log2(bits) moves."""
    for block in _blocks(bits):
        x = (x | (x << (block * (axes - 1)))) & _mask(axes, bits, block)
    return x


def _gather(x: Tensor, axes: int, bits: int) -> Tensor:
    """Move bit i * axes to bit i: the inverse of `_spread`."""
    x = x & _mask(axes, bits, 1)
    for block in reversed(_blocks(bits)):
        x = (x | (x >> (block * (axes - 1)))) & _mask(axes, bits, 2 * block)
    return x


def _check(numbers: Tensor, axes: int, bits: int) -> None:
    """Refuse what has no 63-bit code.

    Raises:
        ValueError: Naming what was given and what is needed.
    """
    if numbers.dtype != torch.int64:
        raise ValueError(f"cells or codes have dtype {numbers.dtype}: need torch.int64.")
    if axes < 1 or bits < 1 or axes * bits > 63:
        raise ValueError(
            f"{axes} axes of {bits} bits make codes of {axes * bits} bits: need 1 to 63. Take larger cells or a "
            "smaller grid."
        )
