"""A Kalman step whose matrices are bound once: what a loop over single measurements calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from mambats_kernels import native
from mambats_kernels.eager import plain
from mambats_kernels.kalman.arguments import check_predict, check_update
from mambats_kernels.kalman.native import takes
from mambats_kernels.kalman.op import kalman_step
from mambats_kernels.native.kalman import Kalman


class PreparedKalman:
    """Predict and update by matrices that stay, without looking at them again.

    Numbers are those of `kalman_step`, which also takes over where gradients are asked, tensors lie elsewhere, or the
    native library is missing. Several threads may call one object.

    Args:
        F: Transition, shape (n, n).
        Q: Covariance of what the move adds, shape (n, n).
        H: What is measured, shape (m, n).
        R: Covariance of the measurement's error, shape (m, m).
        gate: As in `kalman_update`, shape (m + 1,), or None.

    Raises:
        ValueError: If shapes, dtypes or devices do not fit together.

    Example:
        step = PreparedKalman(F, Q, H, R)
        for z in measured:  # (T, B, m)
            x, P = step(x, P, z)
    """

    def __init__(self, F: Tensor, Q: Tensor, H: Tensor, R: Tensor, gate: Tensor | None = None) -> None:
        if F.dim() != 2 or Q.dim() != 2 or H.dim() != 2 or R.dim() != 2:
            raise ValueError("F, Q, H and R must have two axes here: with one matrix a row, call kalman_step.")
        n, m = F.shape[0], H.shape[0]
        x, P = F.new_zeros(1, n), F.new_zeros(1, n, n)
        check_predict(x, P, F, Q, None)
        check_update(x, P, F.new_zeros(1, m), H, R, None, gate)
        self.model, self.gate = (F, Q, H, R), gate
        self._dtype, self._n, self._m = F.dtype, n, m
        rows = torch.contiguous_format
        held = [*self.model, *(() if gate is None else (gate.to(F),))]
        self._held = [v.detach().clone(memory_format=rows) for v in held]
        self._block: object = None
        self._step: Callable[..., int] | None = None
        self._look: tuple[object, ...] | None = None
        if native.library is not None and takes(x, self.model, (n, m)):
            addresses = [v.data_ptr() for v in self._held]
            made = Kalman(0, n, m, torch.get_num_threads(), F.dtype == torch.float64, True)
            made.f, made.q, made.h, made.r = addresses[:4]
            made.gate = addresses[4] if gate is not None else None
            self._block, self._step = ctypes.byref(made), native.library.mambats_kalman_step

    def __call__(self, x: Tensor, P: Tensor, z: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return means (B, n) and covariances (B, n, n) after a move and a measurement.

        Args:
            x: Means, shape (B, n).
            P: Covariances, shape (B, n, n).
            z: Measured, shape (B, m); NaN where not.
            mask: Rows that measured, shape (B,) bool; None for all.
        """
        step = self._step
        batch = -1 if step is None or not plain((x, P, z, mask)) else self._rows(x, P, z, mask)
        if step is None or batch < 0:
            made = kalman_step(x, P, z, *self.model, mask=mask, gate=self.gate)
            return made.mean, made.covariance
        mean, covariance = torch.empty_like(x), torch.empty_like(P)
        if step(
            self._block, batch, x.data_ptr(), P.data_ptr(), z.data_ptr(), None if mask is None else mask.data_ptr(),
            mean.data_ptr(), covariance.data_ptr(),
        ):  # fmt: skip
            raise MemoryError("mambats_kalman_step found no memory for its buffers: give fewer rows.")
        return mean, covariance

    @property
    def measured(self) -> int:
        """Numbers of a measurement, m."""
        return self._m

    def bind(self, x: Tensor, P: Tensor) -> Callable[[int], None] | None:
        """Return a function of a measurement's address that overwrites contiguous x and P, or None without the library.

        The caller answers for what lies there; `RunningKalman` does.
        """
        step, block = self._step, self._block
        if step is None or not x.is_cpu:
            return None
        batch, mean, covariance = len(x), x.data_ptr(), P.data_ptr()

        def call(z: int) -> None:
            if step(block, batch, mean, covariance, z, None, mean, covariance):
                raise MemoryError("mambats_kalman_step found no memory for its buffers: give fewer rows.")

        return call

    def record(self, x: Tensor, P: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Filter T measurements one after another in one call: a recording, at the cost of its arithmetic.

        Args:
            x: Means before, shape (B, n).
            P: Covariances before, shape (B, n, n).
            z: Measured, shape (T, B, m); NaN where not.

        Returns:
            Means (T, B, n) and covariances (T, B, n, n) after each of them.

        Raises:
            ValueError: If a shape, dtype or device does not fit.
        """
        library = native.library
        if z.dim() != 3:
            raise ValueError(f"z has shape {tuple(z.shape)}, needed (T, B, m): one measurement a step and row.")
        z = z.contiguous()
        fits = library is not None and self._step is not None and len(z) > 0 and plain((x, P, z))
        batch = self._rows(x, P, z[0], None) if fits else -1
        if library is None or batch < 0:
            means, covariances = list[Tensor](), list[Tensor]()
            for one in z:
                x, P = self(x, P, one)
                means.append(x)
                covariances.append(P)
            shapes = (0, *x.shape), (0, *P.shape)
            made = torch.stack(means) if means else x.new_empty(shapes[0])
            return made, torch.stack(covariances) if means else P.new_empty(shapes[1])
        mean, covariance = x.new_empty(len(z), *x.shape), P.new_empty(len(z), *P.shape)
        addresses = (v.data_ptr() for v in (x, P, z, mean, covariance))
        if library.mambats_kalman_record(self._block, batch, len(z), *addresses):
            raise MemoryError("mambats_kalman_record found no memory for its buffers: give fewer rows.")
        return mean, covariance

    def _rows(self, x: Tensor, P: Tensor, z: Tensor, mask: Tensor | None) -> int:
        """Return B, or -1 if the library cannot read these; shapes are compared with those of the call before."""
        if not (x.is_contiguous() and P.is_contiguous() and z.is_contiguous() and x.is_cpu and P.is_cpu and z.is_cpu):
            return -1
        look, known = (x.shape, P.shape, z.shape, x.dtype, P.dtype, z.dtype), self._look
        if look != known:
            batch, n, kind = len(x), self._n, self._dtype
            if look != ((batch, n), (batch, n, n), (batch, self._m), kind, kind, kind):
                return -1
            self._look = look
        batch = look[0][0]
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (batch,) or not mask.is_contiguous()):
            return -1
        return batch
