"""The Kalman filter by one launch, for numbers without gradients, in float32 and float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from mambats_kernels import backend, cuda
from mambats_kernels.eager import plain
from mambats_kernels.kalman.reference import Update

LARGEST = 32  # states or measured numbers: one filter of doubles then takes 67 KB of shared memory
_MEMORY = 48 * 1024  # of shared memory a block asks for, if one filter a warp fits
_POINTERS = (
    "x", "p", "z", "f", "q", "h", "r", "gate", "mask",
    "mean", "covariance", "residual", "innovation", "nis", "likelihood", "used",
)  # fmt: skip
_NAMES = {torch.float32: "float", torch.float64: "double"}
_launches: dict[tuple[object, ...], Callable[[ctypes.Structure, int], None]] = {}


class FilterArguments(ctypes.Structure):
    """`Arguments` of filter.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int32) for name in ("each_f", "each_q", "each_h", "each_r", "rows")),
    )


def takes(x: Tensor, others: tuple[Tensor | None, ...], sizes: tuple[int, ...]) -> bool:
    """Say whether the kernel takes checked tensors: on an NVIDIA GPU, small matrices, and no gradient is asked."""
    return (
        x.is_cuda
        and len(x) > 0
        and 0 < min(sizes) <= max(sizes) <= LARGEST
        and next(filter(None, backend.forced()), "") not in ("torch", "reference")
        and plain((x, *others))
        and cuda.obstacle(x.device) is None
    )


def _launch(
    device: int, dtype: torch.dtype, rows: int, n: int, m: int, predicts: bool
) -> Callable[[ctypes.Structure, int], None]:
    """Load the kernel of these sizes, with as many filters a block as memory has room for."""
    kind, cells = torch.finfo(dtype), max(m, 1)
    place = (3 * n * n + 3 * cells * n + 2 * cells * cells + 2 * n + 2 * cells) * kind.bits // 8
    place += -place % (kind.bits // 8)
    lanes = 16 if max(n, m) <= 16 else 32
    warp = 32 // lanes * place
    warps = max(1, min(8, _MEMORY // warp))
    defines = (
        ("REAL", _NAMES[dtype]), ("STATES", n), ("MEASURED", m), ("PREDICTS", int(predicts)), ("LANES", lanes),
        ("THREADS", 32 * warps), ("EPSILON", repr(kind.eps)), ("LEAST", repr(kind.tiny)),
    )  # fmt: skip
    source = cuda.Source(("cuda/device.cuh", "kalman/cuda/filter.cu"), defines, "kalman_filter")
    return cuda.load(source, device, warps * warp).launcher((-(-rows * lanes // (32 * warps)), 1, 1), 32 * warps)


def _run(made: FilterArguments, x: Tensor, rows: int, m: int, predicts: bool) -> None:
    look = (x.get_device(), x.dtype, rows, x.shape[1], m, predicts)
    launch = _launches.get(look)
    if launch is None:
        if len(_launches) >= 1024:
            _launches.clear()
        launch = _launches[look] = _launch(*look)
    made.rows = rows
    launch(made, cuda.stream(x.get_device()))


def _each(matrix: Tensor | None) -> int:
    return 0 if matrix is None or matrix.dim() == 2 else matrix.shape[1] * matrix.shape[2]


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def cuda_predict(x: Tensor, P: Tensor, F: Tensor, Q: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run `kalman_predict` by one launch."""
    x, P, F, Q = (v.detach().contiguous() for v in (x, P, F, Q))
    mask = None if mask is None else mask.contiguous()
    mean, covariance = torch.empty_like(x), torch.empty_like(P)
    made = FilterArguments(x.data_ptr(), P.data_ptr(), None, F.data_ptr(), Q.data_ptr())
    made.mask, made.mean, made.covariance = _address(mask), mean.data_ptr(), covariance.data_ptr()
    made.each_f, made.each_q = _each(F), _each(Q)
    _run(made, x, x.shape[0], 0, True)
    return mean, covariance


def cuda_update(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    model: tuple[Tensor | None, Tensor | None, Tensor, Tensor],
    mask: Tensor | None,
    gate: Tensor | None,
) -> Update:
    """Run `kalman_update`, or `kalman_step` where the model (F, Q, H, R) has F and Q, by one launch."""
    x, P, z = (v.detach().contiguous() for v in (x, P, z))
    held = [None if v is None else v.detach().contiguous() for v in model]
    mask = None if mask is None else mask.contiguous()
    gate = None if gate is None else gate.to(x.dtype).contiguous()
    batch, m = z.shape
    mean, covariance, residual = torch.empty_like(x), torch.empty_like(P), torch.empty_like(z)
    innovation, nis, likelihood = x.new_empty(batch, m, m), x.new_empty(batch), x.new_empty(batch)
    used = torch.empty(batch, dtype=torch.bool, device=x.device)
    made = FilterArguments(
        x.data_ptr(), P.data_ptr(), z.data_ptr(), *map(_address, held), _address(gate), _address(mask),
        mean.data_ptr(), covariance.data_ptr(), residual.data_ptr(), innovation.data_ptr(), nis.data_ptr(),
        likelihood.data_ptr(), used.data_ptr(), *map(_each, held),
    )  # fmt: skip
    _run(made, x, batch, m, held[0] is not None)
    return Update(mean, covariance, residual, innovation, nis, likelihood, used)
