"""How both directions share a launch, and everything else about a call that its shapes and options decide."""

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
    _joining,
    _kernel,
    _template,
    forward_launches,
    wide_channels,
    width_of_sums,
)

AFTER, BESIDE = 1, 2  # `BOTH` of scan.cuh: every block walks both ways; half of the blocks walk the other way
# Blocks a processor from which on each may walk both ways: from there on the backward pass of one way is not cut.
FULL = geometry.BACKWARD_FILL[0]
MOST_PARTIAL = 2**28  # bytes for the partial sums of dB and dC where directions run side by side, in one launch


def machine(device: int) -> tuple[int, bool]:
    """Processors of a GPU, and whether two blocks may add to one place (compute capability 9.0)."""
    found = torch.cuda.get_device_properties(device)
    return found.multi_processor_count, found.major >= 9


# As `torch.compiler.assume_constant_result` does: a traced call takes the answer as a constant.
machine._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def doubled(shape: Shape) -> Shape:
    """The shape whose rows are those of both directions: what is kept for each."""
    return shape._replace(rows=2 * shape.rows)


def arrangement(shape: Shape, processors: int, atomic: bool) -> int:
    """Choose how the directions share a launch: AFTER, BESIDE, or 0 if they had better be two calls.

    After each other, the second direction adds to what the first wrote: no zeros to begin with and nothing atomic, but
    half as many blocks. Side by side, both add to zeros: two addends, whose order does not matter.
    """
    blocks = shape.rows * shape.groups * shape.blocks
    if blocks >= FULL * processors:
        return AFTER
    if atomic and wide_channels(shape) and doubled(shape).partial * shape.tokens * 4 <= MOST_PARTIAL:
        return BESIDE
    return AFTER if shape.tokens < 512 else 0  # below, time is never cut


def _cut(shape: Shape, way: int, processors: int, forward: bool) -> Cut:
    if way == BESIDE:
        return geometry.cut(doubled(shape), *(geometry.FORWARD_FILL if forward else geometry.BACKWARD_FILL), processors)
    wanted = 1 if forward else geometry.launches(doubled(shape))
    # The first half of the launches shall write each token once, the second half once more: the parts must be alike.
    parts = next(n for n in (4, 2, 1) if n == 1 or (wanted > n // 2 and shape.tokens % (64 * n) == 0))
    length = -(-shape.tokens // (64 * parts)) * 64
    return Cut(length, parts, 1)


@lru_cache(maxsize=512)
def forward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], save: bool, device: int
) -> Forward:
    """Prepare a forward pass; the arguments are those of the plan of one direction."""
    processors, atomic = machine(device)
    way = arrangement(shape, processors, atomic)
    cut, both = _cut(shape, way, processors, True), doubled(shape)
    defines = {**_defines(both, build), "BOTH": way}
    blocks = shape.rows * shape.groups * shape.blocks * way
    launches = forward_launches(shape, both, defines, (blocks, cut.chunks, 1), save, device)
    scratch = both.rows * cut.chunks * shape.width * (shape.states + 1) if cut.chunks > 1 else 0
    template = _template(shape, sequences, strides, cut)
    return Forward(template, cut.chunks, both.saved if save else 0, scratch, tuple((launch, 0) for launch in launches))


@lru_cache(maxsize=512)
def backward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], sloped: bool, device: int
) -> Backward:
    """Prepare a backward pass; the arguments are those of the plan of one direction."""
    processors, atomic = machine(device)
    way = arrangement(shape, processors, atomic)
    cut, both = _cut(shape, way, processors, False), doubled(shape)
    blocks = shape.rows * shape.groups * shape.blocks * way
    mode = 0 if cut.chunks == 1 else 2 if way == AFTER else 1
    # Merged sums, which a block writes itself, would need another word to add with: they are gathered like the others.
    defines = {**_defines(both, build), "BOTH": way, "CHUNKED": mode, "SLOPED": int(sloped), "MERGED": 0}
    occupancy = geometry.backward_occupancy(shape, blocks * cut.each / processors)
    room = geometry.backward_shared(both, build.dtype == torch.float32)
    sweep = _kernel("scan_backward", "backward.cu", {**defines, "BLOCKS": occupancy}, device, room)
    finish = _kernel("scan_finish", "finish.cu", defines, device, THREADS * 8)
    launches: list[tuple[Launch, int]] = []
    if mode == 1:
        kernel = _kernel("scan_carry", "carry.cu", defines, device, geometry.carry_shared(shape))
        launches = [
            (kernel.launcher((blocks, cut.chunks, 1), THREADS), 0),
            (_joining(both, {**_defines(both, build), "BOTH": way}, device, True), 0),
        ]
    wide, tokens = shape.width * (shape.states + 2), min(shape.tokens, cut.length * cut.each)
    gather = shape.rows * shape.groups * tokens * shape.padded // 2 * (2 if mode == 2 else 1)
    for offset in cut.offsets:
        last = -(-wide // 32) if offset == 0 else 0
        launches.append((sweep.launcher((blocks, min(cut.each, cut.chunks), 1), THREADS), offset))
        launches.append((finish.launcher((last + -(-gather // THREADS), 1, 1), THREADS), offset))
    slots = both.rows * (cut.chunks if mode == 1 else 1)
    scratch = slots * shape.width * (shape.states + 1) if mode else 0
    template = _template(shape, sequences, strides, cut)
    return Backward(template, cut.chunks, scratch, both.partial * tokens, slots * width_of_sums(shape), tuple(launches))
