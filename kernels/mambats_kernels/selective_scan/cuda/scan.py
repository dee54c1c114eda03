"""The scan on the GPU on tensors without gradients, forward and backward: allocate, fill the argument block, launch."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats_kernels import cuda
from mambats_kernels.selective_scan.cuda import rows
from mambats_kernels.selective_scan.cuda.arguments import Arguments
from mambats_kernels.selective_scan.cuda.geometry import Shape
from mambats_kernels.selective_scan.cuda.plan import (
    Backward,
    Build,
    Forward,
    backward_plan,
    blocks_of_row,
    forward_plan,
    marks,
    wide_channels,
)
from mambats_kernels.selective_scan.operators import Inputs, Options


def _sequence(tensor: Tensor) -> Tensor:
    """Rows may lie anywhere, a row's channels must be neighbours."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _dense(tensor: Tensor) -> Tensor:
    """Contiguous and where 16 bytes can be read at once."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _maybe_dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _dense(tensor)


def readable(given: Inputs) -> Inputs:
    """The same tensors as the kernels read them."""
    return Inputs(
        _sequence(given.x), _sequence(given.dt), _dense(given.A), _sequence(given.B), _sequence(given.C),
        _maybe_dense(given.D), None if given.z is None else _sequence(given.z), _maybe_dense(given.bias),
        _maybe_dense(given.gaps), _maybe_dense(given.initial),
        None if given.borders is None else given.borders.to(torch.int64).contiguous(),
    )  # fmt: skip


def _aligned(*tensors: Tensor | None) -> bool:
    """Whether every row of channels begins where 16 bytes can be read at once."""
    for v in tensors:
        if v is not None:
            size = v.element_size()
            strides = v.stride(0) | v.stride(1) | (v.stride(2) if v.dim() == 4 else 0)
            if v.data_ptr() % 16 or strides * size % 16:
                return False
    return True


def _four(floats: int) -> int:
    return -(-floats // 4) * 4


def _strides(given: Inputs, dy: Tensor | None) -> tuple[int, ...]:
    x, B, C = given.x, given.B, given.C
    z, dy = x if given.z is None else given.z, x if dy is None else dy
    wide = (*x.stride()[:2], *given.dt.stride()[:2], *z.stride()[:2], *dy.stride()[:2])
    return *wide, *B.stride()[:2], B.stride(-2), *C.stride()[:2], C.stride(-2)  # of one group, its stride is not used


def shape_of(x: Tensor, B: Tensor, borders: Tensor | None = None) -> Shape:
    """Sizes of a call with x (B, T, D) and B (B, T, N) or (B, T, G, N); `borders`: of packed sequences."""
    batch, tokens, width = x.shape
    shape = Shape(batch, tokens, width, 1 if B.dim() == 3 else B.shape[2], B.shape[-1], x.element_size())
    return shape if borders is None else rows.parted(shape, borders.shape[0] - 1)


def build_of(shape: Shape, given: Inputs, dy: Tensor | None, options: Options) -> Build:
    """What the kernels are built for."""
    return Build(
        given.x.dtype,
        given.z is not None,
        given.D is not None,
        given.bias is not None,
        options.softplus,
        given.gaps is not None,
        options.hold,
        given.borders is not None,
        options.reverse,
        given.initial is not None,
        wide_channels(shape) and _aligned(given.x, given.dt, given.z, dy),
        shape.states * shape.bytes % 16 == 0 and _aligned(given.B, given.C),
    )


Key = tuple[object, ...]
CONTIGUOUS = torch.contiguous_format
_forwards: dict[Key, tuple[Shape, Forward]] = {}
_backwards: dict[Key, tuple[Shape, Backward]] = {}
lanes: dict[Key, Any] = {}  # of lane.py: they hold plans
MOST = 1024  # calls that are remembered of either kind


def _key(given: Inputs, dy: Tensor | None, options: Options, more: bool) -> Key:
    """All that a plan hangs on, read off the tensors: a third of the time that finding the plan anew takes."""
    x, dt, _, B, C, D, z, bias, gaps, initial, borders = given
    ends = x.data_ptr() | dt.data_ptr()
    if z is not None:
        ends |= z.data_ptr()
    if dy is not None:
        ends |= dy.data_ptr()
    return (
        x.shape, B.shape, x.dtype, x.device.index, x.stride(), dt.stride(), B.stride(), C.stride(),
        None if z is None else z.stride(), None if dy is None else dy.stride(), ends % 16,
        (B.data_ptr() | C.data_ptr()) % 16, D is None, bias is None, gaps is None, initial is None,
        None if borders is None else borders.shape[0], options, more,
    )  # fmt: skip


def find_forward(given: Inputs, options: Options, save: bool) -> tuple[Shape, Forward]:
    """Sizes and plan of a forward pass."""
    key = _key(given, None, options, save)
    found = _forwards.get(key)
    if found is None:
        shape = shape_of(given.x, given.B, given.borders)
        build = build_of(shape, given, None, options)
        make = rows.forward_plan if shape.sequences else forward_plan
        plan = make(shape, build, given.rows, _strides(given, None), save, given.x.device.index or 0)
        if len(_forwards) >= MOST:
            _forwards.clear()
        found = _forwards[key] = shape, plan
    return found


def find_backward(given: Inputs, dy: Tensor, options: Options, sloped: bool) -> tuple[Shape, Backward]:
    """Sizes and plan of a backward pass."""
    key = _key(given, dy, options, sloped)
    found = _backwards.get(key)
    if found is None:
        shape = shape_of(given.x, given.B, given.borders)
        build = build_of(shape, given, dy, options)
        make = rows.backward_plan if shape.sequences else backward_plan
        plan = make(shape, build, given.rows, _strides(given, dy), sloped, given.x.device.index or 0)
        if len(_backwards) >= MOST:
            _backwards.clear()
        found = _backwards[key] = shape, plan
    return found


def forget() -> None:
    """Drop every plan; for tests that pretend another GPU."""
    for kept in (_forwards, _backwards, lanes):
        kept.clear()
    for made in (forward_plan, backward_plan, rows.forward_plan, rows.backward_plan):
        made.cache_clear()


def pointers_of(tensors: tuple[Tensor | None, ...]) -> list[int]:
    """Where tensors begin; 0 for None."""
    return [0 if v is None else v.data_ptr() for v in tensors]


def _block(template: Arguments, pointers: list[int]) -> Arguments:
    """A copy of the template that knows where the inputs are."""
    block = Arguments.from_buffer_copy(template)
    (
        block.x, block.dt, block.A, block.B, block.C, block.D, block.z, block.bias, block.gaps, block.initial,
        block.borders,
    ) = pointers  # fmt: skip
    return block


class _Gradients(NamedTuple):
    """Room for what the backward pass gives, None where there is no input, and behind it its scratch."""

    x: Tensor
    dt: Tensor
    z: Tensor | None
    B: Tensor
    C: Tensor
    A: Tensor
    D: Tensor | None
    bias: Tensor | None
    initial: Tensor | None
    room: Tensor

    @classmethod
    def of(cls, given: Inputs, floats: int) -> "_Gradients":
        """Each in its own memory: making views of one allocation takes the host longer than allocations do."""
        x, dt, A, B, C, D, z, bias, _, initial, _ = given

        def like(v: Tensor | None) -> Tensor | None:
            return None if v is None else torch.empty_like(v, memory_format=CONTIGUOUS)

        made = (*map(like, (x, dt, z, B, C, A, D, bias, initial)), A.new_empty(floats))
        return cls(*made)  # pyright: ignore[reportArgumentType, reportCallIssue]


def saved_floats(shape: Shape, packed: bool) -> int:
    """Size of what the forward pass keeps: states, and the marks of packed tokens or the order of sequences."""
    return _four(shape.saved) + (marks(shape) // 4 if packed else 0)


def scan_forward(given: Inputs, options: Options, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scan x, dt, z (B, T, D) of one dtype with B, C (B, T, N) or (B, T, G, N).

    Gives y (B, T, D), the final states (rows, D, N), and what the backward pass needs if `save`.
    """
    given = readable(given)
    return run_forward(given, pointers_of(given), *find_forward(given, options, save), save)


def run_forward(
    given: Inputs, pointers: list[int], shape: Shape, plan: Forward, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the forward pass on inputs that the kernels can read, which begin at `pointers`."""
    packed = given.borders is not None
    y = torch.empty_like(given.x, memory_format=CONTIGUOUS)
    final = given.A.new_empty((given.rows, shape.width, shape.states))
    if packed and not shape.sequences:  # empty sequences keep what they began with
        final.zero_() if given.initial is None else final.copy_(given.initial)
    kept, marking = saved_floats(shape, packed) if save else 0, marks(shape) // 4 if packed and not save else 0
    saved = given.A.new_empty(kept)
    block = _block(plan.template, pointers)
    block.y, block.final, block.saved = y.data_ptr(), final.data_ptr(), saved.data_ptr()
    scratch = given.A.new_empty(_four(plan.scratch) + marking) if plan.scratch or marking else None
    if scratch is not None:
        block.carry = scratch.data_ptr()
        block.spans = scratch.data_ptr() + 4 * shape.rows * plan.chunks * shape.width * shape.states
        block.marks = scratch.data_ptr() + 4 * _four(plan.scratch)
    if packed and save:
        block.marks = saved.data_ptr() + 4 * kept - marks(shape)
    stream = cuda.stream(given.x.device.index or 0)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    return y, final, saved


def scan_backward(
    dy: Tensor | None, dfinal: Tensor | None, given: Inputs, saved: Tensor, options: Options, sloped: bool
) -> list[Tensor]:
    """Give the gradients of x, dt, A, B, C, D, z, dt_bias, gaps and initial; one of no elements where that is None.

    `sloped`: whether the gradient of the gaps is wanted, else it has no elements.
    """
    slopes = slopes_of(dy, dfinal, readable(given), saved, options, sloped)
    return [given.x.new_empty(0) if v is None else v for v in slopes]


def slopes_of(
    dy: Tensor | None, dfinal: Tensor | None, given: Inputs, saved: Tensor, options: Options, sloped: bool
) -> list[Tensor | None]:
    """The same of inputs that the kernels can read, with None for what is not there."""
    dy, sloped = slope_of(dy, given.x), sloped and given.gaps is not None
    return run_backward(
        dy, _maybe_dense(dfinal), given, pointers_of(given), saved, *find_backward(given, dy, options, sloped), sloped
    )


def slope_of(dy: Tensor | None, x: Tensor) -> Tensor:
    """The gradient of y as the kernels read it."""
    if dy is None:
        return torch.zeros_like(x)
    return _sequence(dy if dy.dtype == x.dtype else dy.to(x.dtype))


def run_backward(
    dy: Tensor,
    dfinal: Tensor | None,
    given: Inputs,
    pointers: list[int],
    saved: Tensor,
    shape: Shape,
    plan: Backward,
    sloped: bool,
) -> list[Tensor | None]:
    """Launch the backward pass on inputs that the kernels can read, which begin at `pointers`."""
    found = _Gradients.of(given, plan.room)
    packed = given.borders is not None
    if packed and not shape.sequences and found.initial is not None:  # of empty sequences
        found.initial.zero_() if dfinal is None else found.initial.copy_(dfinal)
    dgaps = None
    if sloped:  # each block gives its part
        dgaps = given.A.new_zeros((shape.rows, blocks_of_row(shape), shape.tokens))
    block = _block(plan.template, pointers)
    block.dfinal, block.dy, block.saved, block.dgaps = pointers_of((dfinal, dy, saved, dgaps))
    (
        block.dx, block.ddt, block.dz, block.dB, block.dC, block.dA, block.dD, block.dbias, block.dinitial, room
    ) = pointers_of(found)  # fmt: skip
    block.carry = room
    block.spans = room + 4 * shape.rows * plan.chunks * shape.width * shape.states
    block.partial = room + 4 * _four(plan.scratch)
    block.sums = block.partial + 4 * plan.partial
    if packed:
        block.marks = saved.data_ptr() + 4 * saved.shape[0] - marks(shape)
    stream = cuda.stream(given.x.device.index or 0)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    slopes = None if dgaps is None else dgaps.sum(1)
    return [found.x, found.dt, found.A, found.B, found.C, found.D, found.z, found.bias, slopes, found.initial]
