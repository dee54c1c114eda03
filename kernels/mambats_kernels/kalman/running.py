"""Kalman filters that keep their state in place: the cheapest call for one measurement at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_kernels.kalman.prepared import PreparedKalman


class RunningKalman:
    """A batch of filters with bound matrices whose state is overwritten by each measurement; no gradients.

    An earlier state is gone unless it was cloned: where measurements come late, or gradients are wanted, take
    `PreparedKalman`, whose states are never changed. One thread may call it at a time.

    Args:
        step: The bound matrices.
        x: Means to start from, shape (B, n); copied.
        P: Covariances to start from, shape (B, n, n); copied.

    Attributes:
        mean: Shape (B, n), the same memory from step to step on the CPU.
        covariance: Shape (B, n, n), likewise.

    Raises:
        ValueError: If a shape, dtype or device does not fit.
    """

    def __init__(self, step: PreparedKalman, x: Tensor, P: Tensor) -> None:
        self._prepared = step
        self.mean = x.detach().clone(memory_format=torch.contiguous_format)
        self.covariance = P.detach().clone(memory_format=torch.contiguous_format)
        blank = self.mean.new_zeros(len(x), step.measured)
        with torch.no_grad():
            step(self.mean, self.covariance, blank)  # refuses what does not fit
        self._call = step.bind(self.mean, self.covariance)
        self._shape, self._dtype = blank.shape, blank.dtype

    def __call__(self, z: Tensor) -> None:
        """Move the filters by a step and take in measurements z (B, m); NaN where not measured."""
        if self._call is not None and z.is_contiguous() and z.is_cpu:
            if z.shape == self._shape and z.dtype == self._dtype:
                self._call(z.data_ptr())
                return
        with torch.no_grad():
            mean, covariance = self._prepared(self.mean, self.covariance, z)
        self.mean.copy_(mean)
        self.covariance.copy_(covariance)
