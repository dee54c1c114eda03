"""Both directions on the GPU on tensors without gradients: allocate, fill the argument block, launch."""

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels import cuda
from mambats_kernels.bidirectional_scan.cuda.plan import (
    BESIDE,
    arrangement,
    backward_plan,
    doubled,
    forward_plan,
    machine,
)
from mambats_kernels.selective_scan.cuda.geometry import Shape
from mambats_kernels.selective_scan.cuda.plan import Backward, blocks_of_row, marks
from mambats_kernels.selective_scan.cuda.scan import (
    _block,
    _dense,
    _four,
    _maybe_dense,
    _sequence,
    _strides,
    build_of,
    pointers_of,
    readable,
    shape_of,
)
from mambats_kernels.selective_scan.operators import Inputs, Options


def way_of(shape: Shape, device: torch.device) -> int:
    """How the directions share a launch on that device; 0 if they cannot."""
    return arrangement(shape, *machine(device.index or 0))


def saved_floats(shape: Shape, packed: bool) -> int:
    """Size of what the forward pass keeps of both directions: states, and the marks of packed tokens."""
    return _four(doubled(shape).saved) + (2 * marks(shape) // 4 if packed else 0)


def _whole(given: Inputs) -> Inputs:
    """The same where 16 bytes can be read at once, for directions that add 16 bytes at once."""
    z = None if given.z is None else _dense(given.z)
    return given._replace(x=_dense(given.x), dt=_dense(given.dt), z=z)


def both_forward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    A_back: Tensor | None,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    borders: Tensor | None,
    softplus: bool,
    hold: bool,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Scan x, dt, z (B, T, D) of one dtype both ways with B, C (B, T, N) or (B, T, G, N).

    Gives y (B, T, D), and what the backward pass needs if `save`.
    """
    given = readable(Inputs(x, dt, A, B, C, D, z, dt_bias, gaps, None, borders))
    shape, device, packed = shape_of(given.x, given.B), x.device.index or 0, borders is not None
    way = way_of(shape, x.device)
    build = build_of(shape, given, None, Options(softplus, hold, False))
    if way == BESIDE and not build.wide:
        given, build = _whole(given), build._replace(wide=True)
    plan = forward_plan(shape, build, given.rows, _strides(given, None), save, device)
    y = (torch.zeros_like if way == BESIDE else torch.empty_like)(x, memory_format=torch.contiguous_format)
    kept, marking = saved_floats(shape, packed) if save else 0, 2 * marks(shape) // 4 if packed and not save else 0
    saved = given.A.new_empty(kept)
    block, back = _block(plan.template, pointers_of(given)), _maybe_dense(A_back)
    block.y, block.saved = y.data_ptr(), saved.data_ptr()
    block.A_back = block.A if back is None else back.data_ptr()
    scratch = given.A.new_empty(_four(plan.scratch) + marking) if plan.scratch or marking else None
    if scratch is not None:
        block.carry = scratch.data_ptr()
        block.spans = scratch.data_ptr() + 8 * shape.rows * plan.chunks * shape.width * shape.states
        block.marks = scratch.data_ptr() + 4 * _four(plan.scratch)
    if packed and save:
        block.marks = saved.data_ptr() + 4 * kept - 2 * marks(shape)
    stream = cuda.stream(device)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    return y, saved


class _Gradients(NamedTuple):
    """Room for what the backward pass gives, and behind it its scratch."""

    x: Tensor
    dt: Tensor
    z: Tensor
    B: Tensor
    C: Tensor
    A: Tensor
    A_back: Tensor
    D: Tensor
    bias: Tensor
    room: Tensor


def _apart(given: Inputs, back: Tensor | None, plan: Backward, zeros: bool) -> _Gradients:
    """Each result in its own memory."""
    make = torch.zeros_like if zeros else torch.empty_like
    dx, ddt = (make(given.x, memory_format=torch.contiguous_format) for _ in range(2))
    dz = given.x.new_empty(0) if given.z is None else make(given.x, memory_format=torch.contiguous_format)
    dB, dC = (given.B.new_empty(given.B.shape) for _ in range(2))
    dA, dback, dD, dbias = (
        given.x.new_empty(0) if v is None else v.new_empty(v.shape) for v in (given.A, back, given.D, given.bias)
    )
    return _Gradients(dx, ddt, dz, dB, dC, dA, dback, dD, dbias, given.A.new_empty(plan.room))


def both_backward(
    dy: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    A_back: Tensor | None,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    softplus: bool,
    hold: bool,
    sloped: bool,
) -> list[Tensor]:
    """Give the gradients of x, dt, A, A_back, B, C, D, z, dt_bias and gaps; one of no elements where that is None.

    `sloped`: whether the gradient of the gaps is wanted, else it has no elements.
    """
    given, dy = readable(Inputs(x, dt, A, B, C, D, z, dt_bias, gaps, None, borders)), _sequence(dy.to(x.dtype))
    shape, device, back = shape_of(given.x, given.B), x.device.index or 0, _maybe_dense(A_back)
    way, sloped = way_of(shape, x.device), sloped and gaps is not None
    build = build_of(shape, given, dy, Options(softplus, hold, False))
    if way == BESIDE and not build.wide:
        given, dy, build = _whole(given), _dense(dy), build._replace(wide=True)
    plan = backward_plan(shape, build, given.rows, _strides(given, dy), sloped, device)
    found = _apart(given, back, plan, way == BESIDE)
    dgaps = given.A.new_zeros((2, shape.rows, blocks_of_row(shape), shape.tokens)) if sloped else None
    block = _block(plan.template, pointers_of(given))
    block.dy, block.saved, block.dgaps = pointers_of((dy, saved, dgaps))
    (
        block.dx, block.ddt, block.dz, block.dB, block.dC, block.dA, block.dA_back, block.dD, block.dbias, block.carry
    ) = [v.data_ptr() for v in found]  # fmt: skip
    block.A_back = block.A if back is None else back.data_ptr()
    if back is None:
        block.dA_back = None
    block.spans = found.room.data_ptr() + 8 * shape.rows * plan.chunks * shape.width * shape.states
    block.partial = found.room.data_ptr() + 4 * _four(plan.scratch)
    block.sums = found.room.data_ptr() + 4 * (_four(plan.scratch) + plan.partial)
    if borders is not None:
        block.marks = saved.data_ptr() + 4 * saved.shape[0] - 2 * marks(shape)
    stream = cuda.stream(device)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    slopes = found.x.new_empty(0) if dgaps is None else dgaps.sum((0, 2))
    return [found.x, found.dt, found.A, found.A_back, found.B, found.C, found.D, found.z, found.bias, slopes]
