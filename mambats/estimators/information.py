"""Fusion of estimates: by their information if errors are independent, by shares of it if nobody knows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats_kernels.kalman.reference import raise_pivots

_GOLDEN = (5**0.5 - 1) / 2


def fuse_independent(estimates: Gaussian, mask: Tensor | None = None) -> Gaussian:
    """Fuse S estimates of the same numbers whose errors are independent: their information adds up.

    Estimates that share a prior or process noise are not independent: the result would be too sure. Take
    `intersect_covariances` for them.

    Args:
        estimates: Mean (..., S, n) and covariance (..., S, n, n).
        mask: Which of them are there, shape (..., S) bool; the others may hold anything. None: all. At least one of
            each S must be.

    Returns:
        Mean (..., n) and covariance (..., n, n).

    Raises:
        ValueError: If shapes do not fit, or there is no estimate.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 3.3.
    """
    mean, covariance, present = _present(estimates, mask)
    information = _inverse(covariance) * present[..., None, None]
    return _fused(mean, information)


def intersect_covariances(
    estimates: Gaussian, mask: Tensor | None = None, minimise: Literal["trace", "determinant"] = "trace"
) -> Gaussian:
    """Fuse S estimates whose errors may be correlated in any way: never surer than the truth if none of them is.

    Their information is added by weights w that sum to 1: P^-1 = sum of w_i P_i^-1. Estimates are taken in one by one,
    each with the weight that makes the trace or the determinant least (golden section, for both are convex); for two
    that is the best there is.

    Args:
        estimates: Mean (..., S, n) and covariance (..., S, n, n).
        mask: Which of them are there, shape (..., S) bool; the others may hold anything. None: all.
        minimise: Trace, in the mixed squared units of the state, or determinant, which units do not change.

    Returns:
        Mean (..., n) and covariance (..., n, n).

    Raises:
        ValueError: If shapes do not fit, there is no estimate, or `minimise` is neither.

    Source: Julier and Uhlmann, A Non-divergent Estimation Algorithm in the Presence of Unknown Correlations, 1997.
    """
    if minimise not in ("trace", "determinant"):
        raise ValueError(f"minimise is {minimise!r}, needed 'trace' or 'determinant': name one of them.")
    mean, covariance, present = _present(estimates, mask)
    first = present.to(torch.int8).argmax(-1)
    made = Gaussian(_pick(mean, first), _pick(covariance, first))
    for i in range(mean.shape[-2]):
        other = Gaussian(mean[..., i, :], covariance[..., i, :, :])
        joined = _intersect(made, other, minimise)
        use = present[..., i] & (first != i)
        made = Gaussian(
            torch.where(use[..., None], joined.mean, made.mean),
            torch.where(use[..., None, None], joined.covariance, made.covariance),
        )
    return made


def _intersect(one: Gaussian, other: Gaussian, minimise: str) -> Gaussian:
    informations = _inverse(one.covariance), _inverse(other.covariance)
    with torch.no_grad():  # at the least, its slope is 0: the weight's own gradient does not count
        weight = _best_weight(informations[0].detach(), informations[1].detach(), minimise)[..., None, None]
    both = torch.stack([weight * informations[0], (1 - weight) * informations[1]], -3)
    return _fused(torch.stack([one.mean, other.mean], -2), both)


def _best_weight(one: Tensor, other: Tensor, minimise: str) -> Tensor:
    """The first one's share, by 40 golden sections: to 1e-8."""

    def cost(weight: Tensor) -> Tensor:
        mixed = raise_pivots(weight[..., None, None] * one + (1 - weight[..., None, None]) * other)
        if minimise == "trace":
            return _inverse(mixed).diagonal(dim1=-2, dim2=-1).sum(-1)
        return -torch.linalg.cholesky(mixed).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    low, high = torch.zeros_like(one[..., 0, 0]), torch.ones_like(one[..., 0, 0])
    for _ in range(40):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        lower = cost(left) < cost(right)
        low, high = torch.where(lower, low, left), torch.where(lower, right, high)
    ends = torch.stack([torch.zeros_like(low), (low + high) / 2, torch.ones_like(low)])
    best = torch.stack([cost(end) for end in ends]).argmin(0)
    return ends.gather(0, best.unsqueeze(0)).squeeze(0)


def _fused(mean: Tensor, information: Tensor) -> Gaussian:
    """Weighted mean by S informations (..., S, n, n), and the inverse of their sum."""
    covariance = _inverse(raise_pivots(information.sum(-3)))
    pulled = (information @ mean.unsqueeze(-1)).sum(-3)
    return Gaussian((covariance @ pulled).squeeze(-1), covariance)


def _inverse(matrix: Tensor) -> Tensor:
    made = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    return (made + made.mT) / 2


def _pick(tensor: Tensor, index: Tensor) -> Tensor:
    """One of S by index (...)."""
    lead = index.dim()
    at = index.reshape(*index.shape, *(1,) * (tensor.dim() - lead))
    return torch.take_along_dim(tensor, at, lead).squeeze(lead)


def _present(estimates: Gaussian, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Means and covariances where absent ones are 0 and 1, and who is there."""
    mean, covariance = estimates
    if mean.dim() < 2 or covariance.shape != (*mean.shape, mean.shape[-1]):
        raise ValueError(
            f"mean has shape {tuple(mean.shape)}, covariance {tuple(covariance.shape)}: needed (..., S, n) and "
            "(..., S, n, n); stack the estimates."
        )
    mask = torch.ones_like(mean[..., 0], dtype=torch.bool) if mask is None else mask
    if mask.shape != mean.shape[:-1] or mask.dtype != torch.bool:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, needed bool (..., S) = {tuple(mean.shape[:-1])}.")
    if not bool(mask.any(-1).all()):
        raise ValueError("mask leaves rows without any estimate, needed one at least: there is nothing to fuse.")
    eye = torch.eye(mean.shape[-1]).to(mean)
    return torch.where(mask[..., None], mean, 0.0), torch.where(mask[..., None, None], covariance, eye), mask
