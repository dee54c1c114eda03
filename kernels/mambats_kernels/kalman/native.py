"""The Kalman filter by the native CPU library: many filters side by side, numbers in, numbers out."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_kernels import backend, native
from mambats_kernels.eager import plain
from mambats_kernels.kalman.reference import Update
from mambats_kernels.native.kalman import Kalman
from mambats_kernels.native.scan import address

LARGEST = 64  # states or measured numbers: a tile of doubles then takes 2 MB, a second cache


def takes(x: Tensor, others: tuple[Tensor | None, ...], sizes: tuple[int, ...]) -> bool:
    """Say whether the library takes checked tensors: on the CPU, small matrices, and no gradient is asked."""
    return (
        native.library is not None
        and x.device.type == "cpu"
        and next(filter(None, backend.forced()), "") not in ("torch", "reference")
        and 0 < min(sizes) <= max(sizes) <= LARGEST
        and plain((x, *others))
    )


def _each(matrix: Tensor) -> int:
    return 0 if matrix.dim() == 2 else matrix.shape[1] * matrix.shape[2]


def native_predict(x: Tensor, P: Tensor, F: Tensor, Q: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run `kalman_predict` in the library; nobody asks for gradients here (`takes`)."""
    kept = [v.contiguous() for v in (x, P, F, Q)]
    mask = None if mask is None else mask.contiguous()
    mean, covariance = torch.empty_like(kept[0]), torch.empty_like(kept[1])
    block = Kalman(*x.shape, 0, torch.get_num_threads(), x.dtype == torch.float64, True, _each(F), _each(Q))
    block.x, block.p, block.f, block.q = (v.data_ptr() for v in kept)
    block.mask, block.mean, block.covariance = address(mask), mean.data_ptr(), covariance.data_ptr()
    native.run("mambats_kalman_forward", block)
    return mean, covariance


def native_update(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    model: tuple[Tensor | None, Tensor | None, Tensor, Tensor],
    mask: Tensor | None,
    gate: Tensor | None,
) -> Update:
    """Run `kalman_update`, or `kalman_step` where the model (F, Q, H, R) has F and Q, in the library."""
    x, P, z = x.contiguous(), P.contiguous(), z.contiguous()
    held = [None if v is None else v.contiguous() for v in model]
    mask = None if mask is None else mask.contiguous()
    gate = None if gate is None else gate.to(x.dtype).contiguous()
    (batch, n), m = x.shape, z.shape[1]
    mean, covariance, residual = torch.empty_like(x), torch.empty_like(P), torch.empty_like(z)
    innovation, nis, likelihood = x.new_empty(batch, m, m), x.new_empty(batch), x.new_empty(batch)
    used = torch.empty(batch, dtype=torch.bool)
    block = Kalman(
        batch, n, m, torch.get_num_threads(), x.dtype == torch.float64, held[0] is not None,
        *(0 if v is None else _each(v) for v in held), x.data_ptr(), P.data_ptr(), z.data_ptr(), *map(address, held),
        address(gate), address(mask), mean.data_ptr(), covariance.data_ptr(), residual.data_ptr(),
        innovation.data_ptr(), nis.data_ptr(), likelihood.data_ptr(), used.data_ptr(),
    )  # fmt: skip
    native.run("mambats_kalman_forward", block)
    return Update(mean, covariance, residual, innovation, nis, likelihood, used)
