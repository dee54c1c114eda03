"""Packed sequences as rows of their own, walked by the code for dense rows: when, how they are cut, the launches."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch

from mambats_kernels.selective_scan.cuda import geometry
from mambats_kernels.selective_scan.cuda.arguments import Arguments
from mambats_kernels.selective_scan.cuda.geometry import THREADS, Cut, Shape
from mambats_kernels.selective_scan.cuda.plan import (
    Backward,
    Build,
    Forward,
    Launch,
    _defines,
    _forward_kernel,
    _kernel,
    _processors,
    _template,
    width_of_sums,
)

# Blocks from which on rows fill the GPU: 2.5 for each of 132 processors, where a dense batch of as many rows is not cut
# in either pass. A number, not a share of the GPU at hand: a traced call must know what is saved without asking it.
ENOUGH = 330
# Bytes of partial sums of dB and dC up to which fewer rows are rows as well, and cut to fill it. Of rows all are there
# at once; one row of all sequences parts the backward pass into launches.
MOST_PARTIAL = 2**26
# Tokens of a mean sequence below which tiles would be mostly empty: then all sequences are one row with borders.
SHORTEST = 16
# Tokens of a mean sequence above which rows that fill the GPU had better be one row with borders as well: its time
# chunks are long, and borders in them cost less than rows of uneven lengths. 16 sequences cut at random, forward and
# backward: (1, 131072, 1024) as rows 1.36 of dense, as one row 1.1; (4, 8192, 1536) as rows 0.97.
LONGEST = 4096
# Sequences up to which the longest start first: the order takes n^2 comparisons, and of more the last hardly shows.
MOST_ORDERED = 2048


def crowded(shape: Shape, sequences: int) -> bool:
    """Whether rows of so many packed sequences fill the GPU uncut."""
    mean = shape.tokens / max(sequences, 1)
    return sequences * shape.groups * shape.blocks >= ENOUGH and SHORTEST <= mean <= LONGEST


def parted(shape: Shape, sequences: int) -> Shape:
    """The shape whose packed sequences are rows of their own, or the same where one row of all had better be walked.

    Args:
        shape: Of one row of packed tokens.
        sequences: Packed into it; their lengths are known on the GPU only.
    """
    small = shape.blocks == 1 or shape.partial * shape.tokens * 4 <= MOST_PARTIAL
    few = small and sequences > 0 and shape.tokens >= SHORTEST * sequences
    return shape._replace(sequences=sequences) if few or crowded(shape, sequences) else shape


class Pieces(NamedTuple):
    """Rows cut into pieces of `length` tokens, and room for `many` that do not end a row.

    What flows from piece to piece is found before, in parts of `fine` tokens, of which there are at most `fines`.
    """

    length: int
    many: int
    fine: int
    fines: int

    @property
    def cut(self) -> Cut:
        """The same for the argument block."""
        return Cut(self.length, self.many, self.many + 1)


def pieces(shape: Shape, fill: tuple[float, float], processors: int) -> Pieces:
    """Cut rows so that none keeps the GPU waiting, however uneven they are.

    Where rows fill the GPU, one of up to 1.6 times the mean stays whole, as does one of up to half of what one of three
    blocks a processor gets to do: longest first, the last to begin hardly shows. None of over 1.8 times that, which a
    block alone on a processor does in the same time. Longer rows are cut into such pieces and cost a sweep more, over
    parts of at most an eighth of a piece if eight blocks a processor are enough for them. Where there are fewer rows,
    time is cut as that of dense rows is.

    Args:
        shape: Whose sequences are rows.
        fill: Blocks a processor below which rows are too few, and how many pieces there shall be then.
        processors: Of the GPU.
    """
    blocks = shape.groups * shape.blocks
    share = shape.tokens * blocks / processors
    if shape.sequences * blocks < fill[0] * processors:
        length, parts = max(128.0, share / fill[1]) if shape.tokens >= 512 else shape.tokens, 1
    else:
        length = max(min(1.6 * shape.mean, 0.6 * share), share / 6)
        parts = max(1, min(8, int(length / max(64, share / 8))))
    fine = math.ceil(length / parts / 64) * 64
    return Pieces(fine * parts, (shape.tokens - 1) // (fine * parts), fine, (shape.tokens - 1) // fine)


def _spread(shape: Shape, cut: Pieces, device: int) -> float:
    """Blocks a processor."""
    return max(shape.sequences, cut.many + 1) * shape.groups * shape.blocks / _processors(device)


def _template_of(shape: Shape, sequences: int, strides: tuple[int, ...], cut: Pieces) -> Arguments:
    made = _template(shape, sequences, strides, cut.cut)
    made.fine, made.fines = cut.fine, cut.fines
    return made


def _defines_of(shape: Shape, build: Build, device: int) -> dict[str, int | str]:
    # Both passes start rows in the order that the forward pass finds, if it has a launch for that.
    finds = pieces(shape, geometry.FORWARD_FILL, _processors(device)).many > 0
    return {**_defines(shape, build), "ORDERED": int(finds and shape.sequences <= MOST_ORDERED)}


@lru_cache(maxsize=512)
def forward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], save: bool, device: int
) -> Forward:
    """Prepare a forward pass; the arguments are those of the plan for rows of the batch."""
    cut = pieces(shape, geometry.FORWARD_FILL, _processors(device))
    defines = _defines_of(shape, build, device)
    blocks = shape.groups * shape.blocks
    tile = geometry.forward_tile(shape, _spread(shape, cut, device))
    launches: list[tuple[Launch, int]] = []
    if cut.many:
        ends = _forward_kernel(shape, defines, 1, tile, save, device)
        ordering = -(-sequences // (THREADS // 32)) if defines["ORDERED"] else 0
        launches.append((ends.launcher((cut.fines * blocks + ordering, 1, 1), THREADS), 0))
    sweep = _forward_kernel(shape, defines, 2 if cut.many else 0, tile, save, device)
    launches.append((sweep.launcher(((cut.many + sequences) * blocks, 1, 1), THREADS), 0))
    scratch = cut.fines * shape.width * (shape.states + 1) if cut.many else 0
    template = _template_of(shape, sequences, strides, cut)
    return Forward(template, cut.fines, shape.saved if save else 0, scratch, tuple(launches))


@lru_cache(maxsize=512)
def backward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], sloped: bool, device: int
) -> Backward:
    """Prepare a backward pass; the arguments are those of the plan for rows of the batch.

    The partial sums of dB and dC of all tokens are there at once: which tokens a part of the blocks works on, and how
    many, only the GPU knows.
    """
    cut = pieces(shape, geometry.BACKWARD_FILL, _processors(device))
    merged, wide = shape.blocks == 1, shape.width * (shape.states + 2)
    blocks, slots = shape.groups * shape.blocks, cut.many + sequences
    defines = {**_defines_of(shape, build, device), "SLOPED": int(sloped), "MERGED": int(merged)}
    defines["CHUNKED"] = int(cut.many > 0)
    launches: list[tuple[Launch, int]] = []
    if cut.many:
        carry = _kernel("scan_carry", "carry.cu", defines, device, geometry.carry_shared(shape))
        launches.append((carry.launcher((cut.fines * blocks, 1, 1), THREADS), 0))
    occupancy = geometry.backward_occupancy(shape, _spread(shape, cut, device))
    room = geometry.backward_shared(shape, build.dtype == torch.float32)
    sweep = _kernel("scan_backward", "backward.cu", {**defines, "BLOCKS": occupancy}, device, room)
    launches.append((sweep.launcher((slots * blocks, 1, 1), THREADS), 0))
    gather = 0 if merged else shape.groups * shape.tokens * shape.padded // 2
    finish = _kernel("scan_finish", "finish.cu", defines, device, THREADS * 4)
    launches.append((finish.launcher((-(-wide // 32) + -(-gather // THREADS), 1, 1), THREADS), 0))
    scratch = cut.fines * shape.width * (shape.states + 1) if cut.many else 0
    partial = 0 if merged else shape.partial * shape.tokens
    template = _template_of(shape, sequences, strides, cut)
    return Backward(template, cut.fines, scratch, partial, slots * width_of_sums(shape), tuple(launches))
