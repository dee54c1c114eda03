"""How the convolution's work is cut into threads and blocks."""

from typing import NamedTuple

import torch

MOST_TAPS = 16  # beyond, unrolled sums outgrow registers, and compiling 32 taps takes 7 s
NAMES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float16: "fp16"}
BORDERS = {torch.int32: "int", torch.int64: "i64", None: "int"}
_RAW = {2: "u16", 4: "u32", 8: "uint2", 16: "uint4"}


class Tile(NamedTuple):
    """One way to cut the work.

    Attributes:
        load: Most bytes that a thread loads at once.
        run: Tokens that a thread takes at a time.
        threads: Of a block.
        resident: Blocks that must fit a multiprocessor at a time: what limits registers.
        waves: Blocks a multiprocessor in all, where a thread takes several runs (backward).
        walk: Whether these runs follow one another in time (walk.cu) or not (backward.cu).
    """

    load: int
    run: int
    threads: int
    resident: int
    waves: int = 0
    walk: bool = False


# Swept by bench_tiles.py on an H100, with (8, 2048, 1536) deciding: 0.0372 ms (a copy takes 0.0350), 0.0417
# with 16 bytes, 8 tokens, 256 threads. The backward passes within 1 % of the best.
FORWARD = Tile(8, 16, 128, 4)
BACKWARD = Tile(8, 4, 128, 3, 3, walk=True)


def channels_together(tile: Tile, taps: int, size: int, width: int, alignment: int) -> int:
    """Give how many channels a thread takes: a power of two that fits the width, the strides and the addresses.

    Args:
        tile: Says how many bytes to load at most.
        taps: W; wide filters leave fewer registers for channels.
        size: Bytes of an element.
        width: D.
        alignment: Every address and stride in bytes, or-ed.
    """
    most = tile.load // size // (1 if taps <= 4 else 2 if taps <= 8 else 16)
    count = 1
    while count * 2 <= most and width % (count * 2) == 0 and alignment % (count * 2 * size) == 0:
        count *= 2
    return count


def lanes_together(packs: int) -> int:
    """Give how many threads lie side by side along the channels: few idle ones first, then as many as a warp has."""
    choices = [lanes for lanes in (32, 16, 8) if lanes <= packs] or [4, 2, 1]
    return min(choices, key=lambda lanes: (-(-packs // lanes) * lanes, -lanes))


def raw(size: int) -> str:
    """Name the CUDA type of that many bytes."""
    return _RAW[size]
