"""Packed sequences as rows of their own, walked by the code for dense rows: when, how they are cut, the launches."""

from functools import lru_cache

import torch

from mambats_kernels.selective_scan.cuda import geometry
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
)

# Blocks from which on sequences are rows: 2.5 for each of 132 processors, where a dense batch of as many rows is not
# cut in either pass. A number, not a share of the GPU at hand: a traced call must know what is saved without asking it.
ENOUGH = 330
# Tokens of a mean sequence below which tiles would be mostly empty: then all sequences are one row with borders.
SHORTEST = 16


def parted(shape: Shape, sequences: int) -> Shape:
    """The shape whose packed sequences are rows of their own, or the same where one row of all had better be walked.

    Args:
        shape: Of one row of packed tokens.
        sequences: Packed into it; their lengths are known on the GPU only.
    """
    blocks = sequences * shape.groups * shape.blocks
    rows = blocks >= ENOUGH and shape.tokens >= SHORTEST * sequences
    return shape._replace(sequences=sequences) if rows else shape


def pieces(shape: Shape, processors: int) -> Cut:
    """Cut rows so that none keeps the GPU waiting, however uneven they are.

    A row of up to twice the mean stays whole, as does one of up to half of what one of three blocks a processor gets to
    do: the last to begin then adds less than a quarter, alone on its processor. Longer ones are cut into pieces of that
    length, and cost one more sweep. `chunks` of the result: room for pieces that do not end a row.
    """
    share = shape.tokens * shape.groups * shape.blocks / (3 * processors)
    length = -(-max(2 * shape.mean, round(share / 2)) // 64) * 64
    chunks = (shape.tokens - 1) // length
    return Cut(length, chunks, chunks + 1)


@lru_cache(maxsize=512)
def forward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], save: bool, device: int
) -> Forward:
    """Prepare a forward pass; the arguments are those of the plan for rows of the batch."""
    cut, defines = pieces(shape, _processors(device)), _defines(shape, build)
    blocks = shape.groups * shape.blocks
    tile = geometry.forward_tile(shape, sequences * blocks / _processors(device))
    launches: list[tuple[Launch, int]] = []
    if cut.chunks:
        ends = _forward_kernel(shape, defines, 1, tile, save, device)
        launches.append((ends.launcher((cut.chunks * blocks, 1, 1), THREADS), 0))
    sweep = _forward_kernel(shape, defines, 2 if cut.chunks else 0, tile, save, device)
    launches.append((sweep.launcher(((cut.chunks + sequences) * blocks, 1, 1), THREADS), 0))
    scratch = cut.chunks * shape.width * (shape.states + 1)
    template = _template(shape, sequences, strides, cut)
    return Forward(template, cut.chunks, shape.saved if save else 0, scratch, tuple(launches))


@lru_cache(maxsize=512)
def backward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], sloped: bool, device: int
) -> Backward:
    """Prepare a backward pass; the arguments are those of the plan for rows of the batch.

    The partial sums of dB and dC of all tokens are there at once: which tokens a part of the blocks works on, and how
    many, only the GPU knows.
    """
    cut, merged, wide = pieces(shape, _processors(device)), shape.blocks == 1, shape.width * (shape.states + 2)
    blocks, slots = shape.groups * shape.blocks, cut.chunks + sequences
    defines = {**_defines(shape, build), "CHUNKED": int(cut.chunks > 0), "SLOPED": int(sloped), "MERGED": int(merged)}
    launches: list[tuple[Launch, int]] = []
    if cut.chunks:
        carry = _kernel("scan_carry", "carry.cu", defines, device, geometry.carry_shared(shape))
        launches.append((carry.launcher((cut.chunks * blocks, 1, 1), THREADS), 0))
    occupancy = geometry.backward_occupancy(shape, sequences * blocks / _processors(device))
    room = geometry.backward_shared(shape, build.dtype == torch.float32)
    sweep = _kernel("scan_backward", "backward.cu", {**defines, "BLOCKS": occupancy}, device, room)
    launches.append((sweep.launcher((slots * blocks, 1, 1), THREADS), 0))
    gather = 0 if merged else shape.groups * shape.tokens * shape.padded // 2
    finish = _kernel("scan_finish", "finish.cu", defines, device, THREADS * 4)
    launches.append((finish.launcher((-(-wide // 32) + -(-gather // THREADS), 1, 1), THREADS), 0))
    scratch = cut.chunks * shape.width * (shape.states + 1)
    partial = 0 if merged else shape.partial * shape.tokens
    template = _template(shape, sequences, strides, cut)
    return Backward(template, cut.chunks, scratch, partial, slots * wide, tuple(launches))
