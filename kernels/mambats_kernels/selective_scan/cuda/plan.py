"""Everything about a call that its shapes and options decide: kernels, grids, sizes; made once and kept."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from mambats_kernels import cuda
from mambats_kernels.selective_scan.cuda import geometry
from mambats_kernels.selective_scan.cuda.arguments import Arguments
from mambats_kernels.selective_scan.cuda.geometry import THREADS, TILE, Cut, Shape

Launch = Callable[[ctypes.Structure, int], None]
_TYPES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Build(NamedTuple):
    """What the kernels are built for."""

    dtype: torch.dtype
    gated: bool
    skip: bool
    biased: bool
    softplus: bool
    gaps: bool
    hold: bool
    packed: bool
    reverse: bool
    started: bool
    wide: bool
    wide_states: bool


@dataclass(frozen=True)
class Forward:
    """A prepared forward pass.

    Attributes:
        template: Sizes and strides, to be copied for each call.
        chunks: Time chunks.
        saved: Floats that the backward pass needs.
        scratch: Floats of room for the chunks' states and spans.
        launches: In order, with the first chunk of each.
    """

    template: Arguments
    chunks: int
    saved: int
    scratch: int
    launches: tuple[tuple[Launch, int], ...]


@dataclass(frozen=True)
class Backward:
    """A prepared backward pass: as `Forward`; `partial` and `sums` are floats of room as well."""

    template: Arguments
    chunks: int
    scratch: int
    partial: int
    sums: int
    launches: tuple[tuple[Launch, int], ...]

    @property
    def room(self) -> int:
        """Floats of all scratch."""
        return -(-self.scratch // 4) * 4 + self.partial + self.sums


def marks(shape: Shape) -> int:
    """Bytes of the marks of packed tokens; of the order of sequences that are rows of their own."""
    if shape.sequences:
        return -(-shape.sequences // 4) * 16
    return -(-shape.tokens // TILE) * TILE


def _defines(shape: Shape, build: Build) -> dict[str, int | str]:
    return {
        "TYPE": _TYPES[build.dtype],
        "STATES": shape.states,
        "PADDED": shape.padded,
        "SPARSE": int(shape.sparse),
        "GATED": int(build.gated),
        "SKIP": int(build.skip),
        "BIASED": int(build.biased),
        "SOFTPLUS": int(build.softplus),
        "GAPS": int(build.gaps),
        "HOLD": int(build.hold),
        "PACKED": int(build.packed and not shape.sequences),
        "ROWS": int(shape.sequences > 0),
        "REVERSE": int(build.reverse),
        "STARTED": int(build.started),
        "WIDE": int(build.wide),
        "WIDE_STATES": int(build.wide_states),
        "EXACT": int(build.dtype == torch.float32),
        "BLOCKS_OF_GROUP": shape.blocks,
    }


def _kernel(name: str, file: str, defines: dict[str, int | str], device: int, shared: int = 0) -> cuda.Kernel:
    # One text a kernel: the compiler is given no folder to include from.
    own = ("scan.cuh", "backward.cuh", file) if file == "backward.cu" else ("scan.cuh", file)
    files = ("cuda/device.cuh", *(f"selective_scan/cuda/{name}" for name in own))
    return cuda.load(cuda.Source(files, tuple(sorted(defines.items())), name), device, shared)


def _template(shape: Shape, sequences: int, strides: tuple[int, ...], cut: Cut) -> Arguments:
    inner = shape.width // shape.groups
    made = Arguments(
        rows=shape.rows, tokens=shape.tokens, width=shape.width, inner=inner, groups=shape.groups, sequences=sequences,
        chunk=cut.length, chunks=cut.chunks, room=cut.length * cut.each,
    )  # fmt: skip
    for k, name in enumerate(("x", "dt", "z", "dy")):
        _lay(made, name, (*strides[2 * k : 2 * k + 2], inner))
    for k, name in enumerate(("B", "C")):
        _lay(made, name, strides[8 + 3 * k : 11 + 3 * k])
    for name in ("y", "dx", "ddt", "dz"):
        _lay(made, name, (shape.tokens * shape.width, shape.width, inner))
    for name in ("dB", "dC"):
        _lay(made, name, (shape.tokens * shape.groups * shape.states, shape.groups * shape.states, shape.states))
    return made


def _lay(made: Arguments, name: str, strides: tuple[int, ...]) -> None:
    for part, stride in zip(("_row", "_token", "_group"), strides, strict=True):
        setattr(made, name + part, stride)


def _marking(shape: Shape, defines: dict[str, int | str], device: int) -> Launch:
    grid = (-(-marks(shape) // THREADS), 1, 1)
    return _kernel("scan_marks", "chunks.cu", {**defines, "BACKWARD": 0}, device).launcher(grid, THREADS)


def _joining(shape: Shape, defines: dict[str, int | str], device: int, backward: bool) -> Launch:
    grid = (-(-shape.width * shape.states // THREADS), shape.rows, 1)
    kernel = _kernel("scan_join", "chunks.cu", {**defines, "BACKWARD": int(backward)}, device)
    return kernel.launcher(grid, THREADS)


def _processors(device: int) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _forward_kernel(
    shape: Shape, defines: dict[str, int | str], phase: int, tile: int, save: bool, device: int
) -> cuda.Kernel:
    built = {**defines, "PHASE": phase, "SAVE": int(save and phase != 1), "TILE": tile}
    built |= {"UNROLL": 2 if shape.padded <= 64 else 1, "BLOCKS": geometry.forward_occupancy(shape, tile)}
    room = geometry.forward_shared(shape, tile, phase == 1)
    return _kernel("scan_forward", "forward.cu", built, device, room)


def forward_launches(
    shape: Shape, kept: Shape, defines: dict[str, int | str], grid: tuple[int, int, int], save: bool, device: int
) -> list[Launch]:
    """Prepare the launches of a forward pass.

    Args:
        shape: Sizes.
        kept: The same with as many rows as states are kept for.
        defines: What the kernels are built for.
        grid: Of the sweeps: blocks, chunks, 1.
        save: Whether a backward pass follows.
        device: Index.
    """
    chunks, tile = grid[1], geometry.forward_tile(shape, grid[0] * grid[1] / _processors(device))
    launches = [_marking(shape, defines, device)] if defines["PACKED"] else []
    if chunks > 1:
        kernel = _forward_kernel(shape, defines, 1, tile, save, device)
        launches += [kernel.launcher(grid, THREADS), _joining(kept, defines, device, False)]
    kernel = _forward_kernel(shape, defines, 2 if chunks > 1 else 0, tile, save, device)
    return [*launches, kernel.launcher(grid, THREADS)]


@lru_cache(maxsize=512)
def forward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], save: bool, device: int
) -> Forward:
    """Prepare a forward pass.

    Args:
        shape: Sizes.
        build: What the kernels are built for.
        sequences: Packed sequences, else rows.
        strides: In elements: row and token of x, dt, z, dy; row, token and group of B, C.
        save: Whether a backward pass follows.
        device: Index.
    """
    cut = geometry.cut(shape, *geometry.FORWARD_FILL, _processors(device))
    chunks, defines = cut.chunks, _defines(shape, build)
    blocks = shape.rows * shape.groups * shape.blocks
    launches = forward_launches(shape, shape, defines, (blocks, chunks, 1), save, device)
    saved = shape.saved if save else 0
    scratch = shape.rows * chunks * shape.width * (shape.states + 1) if chunks > 1 else 0
    template = _template(shape, sequences, strides, cut)
    return Forward(template, chunks, saved, scratch, tuple((launch, 0) for launch in launches))


@lru_cache(maxsize=512)
def backward_plan(
    shape: Shape, build: Build, sequences: int, strides: tuple[int, ...], sloped: bool, device: int
) -> Backward:
    """Prepare a backward pass; `sloped`: with the gradient of the gaps. The rest as `forward_plan`."""
    processors, wide = _processors(device), shape.width * (shape.states + 2)
    cut = geometry.cut(shape, *geometry.BACKWARD_FILL, processors, geometry.launches(shape))
    blocks, merged = shape.rows * shape.groups * shape.blocks, shape.blocks == 1
    mode = 0 if cut.chunks == 1 else 2 if cut.each == 1 else 1
    defines = {**_defines(shape, build), "CHUNKED": mode, "SLOPED": int(sloped), "MERGED": int(merged)}
    occupancy = geometry.backward_occupancy(shape, blocks * cut.each / processors)
    room = geometry.backward_shared(shape, build.dtype == torch.float32)
    sweep = _kernel("scan_backward", "backward.cu", {**defines, "BLOCKS": occupancy}, device, room)
    gather = 0 if merged else shape.rows * shape.groups * cut.length * cut.each * shape.padded // 2
    finish = _kernel("scan_finish", "finish.cu", defines, device, THREADS * 4)
    launches: list[tuple[Launch, int]] = []
    if mode == 1:
        kernel = _kernel("scan_carry", "carry.cu", defines, device, geometry.carry_shared(shape))
        launches = [
            (kernel.launcher((blocks, cut.chunks, 1), THREADS), 0),
            (_joining(shape, _defines(shape, build), device, True), 0),
        ]
    for offset in cut.offsets:
        last = -(-wide // 32) if offset == 0 else 0
        launches.append((sweep.launcher((blocks, min(cut.each, cut.chunks - offset), 1), THREADS), offset))
        if last or gather:
            launches.append((finish.launcher((last + -(-gather // THREADS), 1, 1), THREADS), offset))
    slots = shape.rows * (cut.chunks if mode == 1 else 1)
    scratch = slots * shape.width * (shape.states + 1) if mode else 0
    tokens = min(shape.tokens, cut.length * cut.each)
    partial = 0 if merged else shape.partial * tokens
    template = _template(shape, sequences, strides, cut)
    return Backward(template, cut.chunks, scratch, partial, slots * width_of_sums(shape), tuple(launches))


def width_of_sums(shape: Shape) -> int:
    """Floats from the sums of dA, dD and dbias of one row to the next: 16 bytes may be written at once in each."""
    return shape.width * (shape.states + 2) + shape.width % 2 * 2


def blocks_of_row(shape: Shape) -> int:
    """Blocks that share a row: each gives its part of the gaps' gradient."""
    return shape.groups * shape.blocks


def wide_channels(shape: Shape) -> bool:
    """Whether rows of channels are made of whole 16-byte pieces, in every group."""
    return shape.width // shape.groups * shape.bytes % 16 == 0
