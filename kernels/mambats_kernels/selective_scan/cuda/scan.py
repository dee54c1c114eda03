"""The scan on the GPU, forward and backward, on tensors without gradients: allocate, fill the argument block, launch."""

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels import cuda
from mambats_kernels.selective_scan.cuda.arguments import Arguments
from mambats_kernels.selective_scan.cuda.geometry import Shape
from mambats_kernels.selective_scan.cuda.plan import (
    Backward,
    Options,
    backward_plan,
    blocks_of_row,
    forward_plan,
    marks,
    wide_channels,
)


SMALL = 2**22  # elements of x up to which the gradients may share memory: beyond, each should be freed as soon as it can


def _sequence(tensor: Tensor) -> Tensor:
    """Rows may lie anywhere, a row's channels must be neighbours."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _dense(tensor: Tensor | None) -> Tensor | None:
    """Contiguous and where 16 bytes can be read at once."""
    if tensor is None:
        return None
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _aligned(*tensors: Tensor | None) -> bool:
    """Whether every row of channels begins where 16 bytes can be read at once."""
    for v in tensors:
        if v is not None:
            size = v.element_size()
            if (v.data_ptr() | v.stride(0) * size | v.stride(1) * size | (v.stride(2) * size if v.dim() == 4 else 0)) % 16:
                return False
    return True


def _four(floats: int) -> int:
    return -(-floats // 4) * 4


def _strides(x: Tensor, dt: Tensor, z: Tensor | None, dy: Tensor | None, B: Tensor, C: Tensor) -> tuple[int, ...]:
    z, dy = x if z is None else z, x if dy is None else dy
    wide = (*x.stride()[:2], *dt.stride()[:2], *z.stride()[:2], *dy.stride()[:2])
    return *wide, *B.stride()[:2], B.stride(-2), *C.stride()[:2], C.stride(-2)  # of one group, its stride is not used


def shape_of(x: Tensor, B: Tensor) -> Shape:
    rows, tokens, width = x.shape
    return Shape(rows, tokens, width, 1 if B.dim() == 3 else B.shape[2], B.shape[-1], x.element_size())


def _options(
    shape: Shape, x: Tensor, dt: Tensor, z: Tensor | None, dy: Tensor | None, B: Tensor, C: Tensor, given: tuple[bool, ...]
) -> Options:
    wide = wide_channels(shape) and _aligned(x, dt, z, dy)
    return Options(x.dtype, *given, wide, shape.states * shape.bytes % 16 == 0 and _aligned(B, C))


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
        cls, x: Tensor, B: Tensor, A: Tensor, plan: Backward, z: Tensor | None, *rest: Tensor | None
    ) -> "_Gradients":
        """Each result in its own memory."""
        wide = [x.new_empty(x.shape) if v is not None else x.new_empty(0) for v in (x, x, z)]
        flat = [A.new_empty(0 if v is None else v.shape) for v in rest]
        return cls(*wide, B.new_empty(B.shape), B.new_empty(B.shape), A.new_empty(A.shape), *flat, A.new_empty(plan.room))

    @classmethod
    def together(
        cls, x: Tensor, B: Tensor, A: Tensor, plan: Backward, z: Tensor | None, *rest: Tensor | None
    ) -> "_Gradients":
        """Results of one kind as views of one allocation: an allocation costs the host as much as a launch."""
        wide = x.new_empty((3, *x.shape)).unbind()
        narrow = B.new_empty((2, *B.shape)).unbind()
        sizes = [0 if v is None else _four(v.numel()) for v in (A, *rest)]
        *found, room = A.new_empty(sum(sizes) + plan.room).split_with_sizes([*sizes, plan.room])
        rates, D, bias, initial = (_shaped(v, like) for v, like in zip(found, (A, *rest), strict=True))
        return cls(*wide, *narrow, rates, D, bias, initial, room)


def saved_floats(shape: Shape, packed: bool) -> int:
    """Size of what the forward pass keeps: the states before each segment, and the marks of packed tokens."""
    return _four(shape.saved) + (marks(shape) // 4 if packed else 0)


def scan_forward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    softplus: bool,
    hold: bool,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan x, dt, z (B, T, D) of one dtype with B, C (B, T, N) or (B, T, G, N): y, final states (rows, D, N), what backward needs."""
    x, dt, B, C = _sequence(x), _sequence(dt), _sequence(B), _sequence(C)
    z = None if z is None else _sequence(z)
    A, D, dt_bias, gaps, initial = A.contiguous(), _dense(D), _dense(dt_bias), _dense(gaps), _dense(initial)
    A = A if A.data_ptr() % 16 == 0 else A.clone()
    packed = borders is not None
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    shape, device = shape_of(x, B), x.device.index or 0 or 0
    rows = shape.rows if borders is None else borders.shape[0] - 1
    flags = (z is not None, D is not None, dt_bias is not None, softplus, gaps is not None, hold, packed, reverse)
    options = _options(shape, x, dt, z, None, B, C, (*flags, initial is not None))
    plan = forward_plan(shape, options, rows, _strides(x, dt, z, None, B, C), save, device)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = A.new_empty((rows, shape.width, shape.states))
    if packed:  # empty sequences keep what they began with
        final.zero_() if initial is None else final.copy_(initial)
    kept = saved_floats(shape, packed) if save else 0
    saved = A.new_empty(kept)
    marking = marks(shape) // 4 if packed and not save else 0
    scratch = A.new_empty(_four(plan.scratch) + marking) if plan.scratch or marking else None
    block = Arguments.from_buffer_copy(plan.template)
    block.x, block.dt, block.A, block.B, block.C = x.data_ptr(), dt.data_ptr(), A.data_ptr(), B.data_ptr(), C.data_ptr()
    block.y, block.final, block.saved = y.data_ptr(), final.data_ptr(), saved.data_ptr()
    block.z, block.D, block.bias, block.gaps = _address(z), _address(D), _address(dt_bias), _address(gaps)
    block.initial, block.borders = _address(initial), _address(borders)
    if scratch is not None:
        block.carry = scratch.data_ptr()
        block.spans = block.carry + 4 * shape.rows * plan.chunks * shape.width * shape.states
    if packed:
        block.marks = (saved.data_ptr() + 4 * (kept - marks(shape) // 4)) if save else block.carry + 4 * _four(plan.scratch)
    stream = cuda.stream(device)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    return y, final, saved


def scan_backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    softplus: bool,
    hold: bool,
    reverse: bool,
    sloped: bool,
    merge: bool = False,
) -> list[Tensor]:
    """Give the gradients of x, dt, A, B, C, D, z, dt_bias, gaps and initial; one of no elements where that is None.

    `sloped`: whether the gradient of the gaps is wanted, else it has no elements. `merge`: whether small results may share
    memory.
    """
    x, dt, B, C = _sequence(x), _sequence(dt), _sequence(B), _sequence(C)
    z = None if z is None else _sequence(z)
    dy = torch.zeros_like(x) if dy is None else _sequence(dy)
    if dy.dtype != x.dtype:
        dy = dy.to(x.dtype)
    A, D, dt_bias, gaps, initial = A.contiguous(), _dense(D), _dense(dt_bias), _dense(gaps), _dense(initial)
    A = A if A.data_ptr() % 16 == 0 else A.clone()
    dfinal = _dense(dfinal)
    packed = borders is not None
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    shape, device = shape_of(x, B), x.device.index or 0 or 0
    rows = shape.rows if borders is None else borders.shape[0] - 1
    flags = (z is not None, D is not None, dt_bias is not None, softplus, gaps is not None, hold, packed, reverse)
    options = _options(shape, x, dt, z, dy, B, C, (*flags, initial is not None))
    sloped = sloped and gaps is not None
    plan = backward_plan(shape, options, rows, _strides(x, dt, z, dy, B, C), sloped, device)
    found = _Gradients.together(x, B, A, plan, z, D, dt_bias, initial) if merge and x.numel() <= SMALL else (
        _Gradients.apart(x, B, A, plan, z, D, dt_bias, initial)
    )
    dgaps = x.new_zeros((shape.rows, blocks_of_row(shape), shape.tokens), dtype=torch.float32) if sloped else None
    if packed and initial is not None:  # of empty sequences
        found.initial.zero_() if dfinal is None else found.initial.copy_(dfinal)
    block = Arguments.from_buffer_copy(plan.template)
    block.x, block.dt, block.A, block.B, block.C = x.data_ptr(), dt.data_ptr(), A.data_ptr(), B.data_ptr(), C.data_ptr()
    block.z, block.D, block.bias, block.gaps = _address(z), _address(D), _address(dt_bias), _address(gaps)
    block.initial, block.borders, block.dfinal = _address(initial), _address(borders), _address(dfinal)
    block.dy, block.saved, block.dgaps = dy.data_ptr(), saved.data_ptr(), _address(dgaps)
    (
        block.dx, block.ddt, block.dz, block.dB, block.dC, block.dA, block.dD, block.dbias, block.dinitial, block.carry
    ) = [v.data_ptr() for v in found]  # fmt: skip
    block.spans = block.carry + 4 * shape.rows * plan.chunks * shape.width * shape.states
    block.partial = block.carry + 4 * _four(plan.scratch)
    block.sums = block.partial + 4 * plan.partial
    if packed:
        block.marks = saved.data_ptr() + 4 * (saved.shape[0] - marks(shape) // 4)
    stream = cuda.stream(device)
    for launch, block.offset in plan.launches:
        launch(block, stream)
    slopes = A.new_empty(0) if dgaps is None else dgaps.sum(1)
    return [
        found.x, found.dt, found.A, found.B, found.C, found.D, found.z, found.bias, slopes, found.initial
    ]  # fmt: skip
