"""The scan on the GPU on tensors without gradients, forward and backward: allocate, fill the argument block, launch."""

from typing import NamedTuple

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

# Elements of x up to which gradients may share memory: beyond, each should be freed as soon as it can.
SMALL = 2**22


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


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


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
_forwards: dict[Key, tuple[Shape, Forward]] = {}
_backwards: dict[Key, tuple[Shape, Backward]] = {}
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


def _find_forward(given: Inputs, options: Options, save: bool) -> tuple[Shape, Forward]:
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


def _find_backward(given: Inputs, dy: Tensor, options: Options, sloped: bool) -> tuple[Shape, Backward]:
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
    for kept in (_forwards, _backwards):
        kept.clear()
    for made in (forward_plan, backward_plan, rows.forward_plan, rows.backward_plan):
        made.cache_clear()


def _block(template: Arguments, given: Inputs) -> Arguments:
    """A copy of the template that knows where the inputs are."""
    block = Arguments.from_buffer_copy(template)
    block.x, block.dt, block.A = given.x.data_ptr(), given.dt.data_ptr(), given.A.data_ptr()
    block.B, block.C, block.z = given.B.data_ptr(), given.C.data_ptr(), _address(given.z)
    block.D, block.bias, block.gaps = _address(given.D), _address(given.bias), _address(given.gaps)
    block.initial, block.borders = _address(given.initial), _address(given.borders)
    return block


def _shaped(flat: Tensor, like: Tensor | None) -> Tensor:
    if like is None or like.shape == flat.shape:
        return flat
    return (flat if flat.shape[0] == like.numel() else flat[: like.numel()]).view(like.shape)


class _Gradients(NamedTuple):
    """Room for what the backward pass gives, and behind it its scratch."""

    x: Tensor
    dt: Tensor
    z: Tensor
    B: Tensor
    C: Tensor
    A: Tensor
    D: Tensor
    bias: Tensor
    initial: Tensor
    room: Tensor

    @classmethod
    def apart(
        cls,
        x: Tensor,
        B: Tensor,
        A: Tensor,
        plan: Backward,
        z: Tensor | None,
        D: Tensor | None,
        bias: Tensor | None,
        initial: Tensor | None,
    ) -> "_Gradients":
        """Each result in its own memory."""
        dx, ddt, dz = x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(0 if z is None else x.shape)
        dD, dbias, first = (A.new_empty(0 if v is None else v.shape) for v in (D, bias, initial))
        dB, dC, dA, room = B.new_empty(B.shape), B.new_empty(B.shape), A.new_empty(A.shape), A.new_empty(plan.room)
        return cls(dx, ddt, dz, dB, dC, dA, dD, dbias, first, room)

    @classmethod
    def together(
        cls,
        x: Tensor,
        B: Tensor,
        A: Tensor,
        plan: Backward,
        z: Tensor | None,
        D: Tensor | None,
        bias: Tensor | None,
        initial: Tensor | None,
    ) -> "_Gradients":
        """Results of one kind as views of one allocation: an allocation costs the host as much as a launch."""
        dx, ddt, dz = x.new_empty((3, *x.shape)).unbind()
        dB, dC = B.new_empty((2, *B.shape)).unbind()
        likes = (A, D, bias, initial)
        sizes = [0 if v is None else _four(v.numel()) for v in likes]
        *flat, room = A.new_empty(sum(sizes) + plan.room).split_with_sizes([*sizes, plan.room])
        dA, dD, dbias, first = (_shaped(v, like) for v, like in zip(flat, likes, strict=True))
        return cls(dx, ddt, dz, dB, dC, dA, dD, dbias, first, room)


def saved_floats(shape: Shape, packed: bool) -> int:
    """Size of what the forward pass keeps: states, and the marks of packed tokens in a row of all sequences."""
    return _four(shape.saved) + (marks(shape) // 4 if packed and not shape.sequences else 0)


def scan_forward(given: Inputs, options: Options, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scan x, dt, z (B, T, D) of one dtype with B, C (B, T, N) or (B, T, G, N).

    Gives y (B, T, D), the final states (rows, D, N), and what the backward pass needs if `save`.
    """
    given = readable(given)
    shape, plan = _find_forward(given, options, save)
    packed = given.borders is not None and not shape.sequences
    y = torch.empty_like(given.x, memory_format=torch.contiguous_format)
    final = given.A.new_empty((given.rows, shape.width, shape.states))
    if packed:  # empty sequences keep what they began with
        final.zero_() if given.initial is None else final.copy_(given.initial)
    kept, marking = saved_floats(shape, packed) if save else 0, marks(shape) // 4 if packed and not save else 0
    saved = given.A.new_empty(kept)
    block = _block(plan.template, given)
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
    dy: Tensor | None,
    dfinal: Tensor | None,
    given: Inputs,
    saved: Tensor,
    options: Options,
    sloped: bool,
    merge: bool = False,
) -> list[Tensor]:
    """Give the gradients of x, dt, A, B, C, D, z, dt_bias, gaps and initial; one of no elements where that is None.

    `sloped`: whether the gradient of the gaps is wanted, else it has no elements. `merge`: whether small results may
    share memory.
    """
    given = readable(given)
    dy = torch.zeros_like(given.x) if dy is None else _sequence(dy.to(given.x.dtype))
    dfinal, sloped = _maybe_dense(dfinal), sloped and given.gaps is not None
    shape, plan = _find_backward(given, dy, options, sloped)
    make = _Gradients.together if merge and given.x.numel() <= SMALL else _Gradients.apart
    found = make(given.x, given.B, given.A, plan, given.z, given.D, given.bias, given.initial)
    packed = given.borders is not None and not shape.sequences
    if packed and given.initial is not None:  # of empty sequences
        found.initial.zero_() if dfinal is None else found.initial.copy_(dfinal)
    dgaps = None
    if sloped:  # each block gives its part
        dgaps = given.A.new_zeros((shape.rows, blocks_of_row(shape), shape.tokens))
    block = _block(plan.template, given)
    block.dfinal, block.dy, block.saved, block.dgaps = (_address(v) for v in (dfinal, dy, saved, dgaps))
    (
        block.dx, block.ddt, block.dz, block.dB, block.dC, block.dA, block.dD, block.dbias, block.dinitial, block.carry
    ) = [v.data_ptr() for v in found]  # fmt: skip
    block.spans = found.room.data_ptr() + 4 * shape.rows * plan.chunks * shape.width * shape.states
    block.partial = found.room.data_ptr() + 4 * _four(plan.scratch)
    block.sums = found.room.data_ptr() + 4 * (_four(plan.scratch) + plan.partial)
    if packed:
        block.marks = saved.data_ptr() + 4 * saved.shape[0] - marks(shape)
    stream = cuda.stream(given.x.device.index or 0)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    slopes = found.x.new_empty(0) if dgaps is None else dgaps.sum(1)
    return [found.x, found.dt, found.A, found.B, found.C, found.D, found.z, found.bias, slopes, found.initial]
