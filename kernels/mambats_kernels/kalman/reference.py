"""The Kalman filter by its equations, in torch operations: any float dtype and device, differentiable, the judge."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.eager import untraced

_LOG_2_PI = math.log(2 * math.pi)


class Update(NamedTuple):
    """What a measurement made of B states of n numbers, m of them measured.

    Args:
        mean: Shape (B, n).
        covariance: Shape (B, n, n), symmetric positive definite.
        residual: Measured less predicted, 0 where not measured, shape (B, m).
        innovation: Covariance S of the residual, shape (B, m, m); rows and columns of what was not measured are those
            of the identity.
        nis: residual' S^-1 residual, shape (B,).
        log_likelihood: Of the residual under N(0, S), nats, shape (B,); 0 where nothing was measured.
        used: Whether the state was updated, shape (B,) bool.
    """

    mean: Tensor
    covariance: Tensor
    residual: Tensor
    innovation: Tensor
    nis: Tensor
    log_likelihood: Tensor
    used: Tensor


def raise_pivots(matrix: Tensor) -> Tensor:
    """Return a symmetric matrix (..., n, n) with as much added to its diagonal as keeps it positive definite.

    Where a pivot of its LDL' factors is below 1000 n eps of its diagonal cell, rounding may have made it indefinite:
    pivots are raised to 4 n eps and each diagonal cell by as much. Else the matrix comes back to the bit. What is added
    is of the size of rounding, and a constant in gradients.

    Source: Gill, Murray and Wright, Practical Optimization, 1981, section 4.4.2.2 (modified Cholesky factors), with a
        bound for each column of its own.
    """
    with torch.no_grad():
        kind = torch.finfo(matrix.dtype)
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        floor = (diagonal * (4 * matrix.shape[-1] * kind.eps)).clamp_min(kind.tiny)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        sound = (factor.diagonal(dim1=-2, dim2=-1).square() >= 250 * floor).all(-1) & (failed == 0)
        if untraced() and bool(sound.all()):  # else values must not be looked at
            return matrix
        added = torch.where(sound.unsqueeze(-1), 0.0, _missing_from_pivots(matrix, floor) + floor)
    return matrix + torch.diag_embed(added)


def _missing_from_pivots(matrix: Tensor, floor: Tensor) -> Tensor:
    """What must be added to each diagonal cell, shape (..., n), that none after it falls below its floor."""
    left = matrix
    added: list[Tensor] = []  # dynamo knows no list[Tensor]()
    for j in range(matrix.shape[-1]):
        pivot, column = left[..., 0, 0], left[..., 1:, 0]
        raised = torch.maximum(pivot, floor[..., j])
        if column.shape[-1]:
            later = left.diagonal(dim1=-2, dim2=-1)[..., 1:]
            room = torch.maximum(later - floor[..., j + 1 :], floor[..., j + 1 :])
            raised = torch.maximum(raised, (column.square() / room).amax(-1))
        added.append(raised - pivot)
        left = left[..., 1:, 1:] - column.unsqueeze(-1) * column.unsqueeze(-2) / raised[..., None, None]
    return torch.stack(added, -1)


def _sound(matrix: Tensor) -> Tensor:
    return raise_pivots((matrix + matrix.mT) / 2)


def kalman_predict(x: Tensor, P: Tensor, F: Tensor, Q: Tensor, *, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Move B states by one step: see `mambats_kernels.kalman.kalman_predict`."""
    mean, covariance = (F @ x.unsqueeze(-1)).squeeze(-1), _sound(F @ P @ F.mT + Q)
    if mask is None:
        return mean, covariance
    return torch.where(mask[:, None], mean, x), torch.where(mask[:, None, None], covariance, P)


def kalman_update(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    H: Tensor,
    R: Tensor,
    *,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
) -> Update:
    """Take a measurement of B states: see `mambats_kernels.kalman.kalman_update`."""
    known = z.isfinite() if mask is None else z.isfinite() & mask[:, None]
    residual = torch.where(known, torch.where(known, z, 0.0) - (H @ x.unsqueeze(-1)).squeeze(-1), 0.0)
    both = known.unsqueeze(-1) & known.unsqueeze(-2)
    H = torch.where(known.unsqueeze(-1), H, 0.0)
    noise = torch.where(both, R, 0.0)
    seen = H @ P
    innovation = _sound(seen @ H.mT + noise + torch.diag_embed((~known).to(P)))
    factor = torch.linalg.cholesky(innovation)
    white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
    nis, count = white.square().sum(-1), known.sum(-1)
    log_root = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_likelihood = -0.5 * (nis + count.to(nis) * _LOG_2_PI) - log_root
    used = count > 0
    if gate is not None:
        used = used & (nis <= gate.to(nis)[count])
    gain = torch.cholesky_solve(seen, factor).mT
    # Joseph's (I - K H) P (I - K H)' + K R K', multiplied from the left and then from the right.
    left = P - gain @ seen
    covariance = _sound(left - (left @ H.mT) @ gain.mT + gain @ noise @ gain.mT)
    mean = torch.where(used[:, None], x + (gain @ residual.unsqueeze(-1)).squeeze(-1), x)
    covariance = torch.where(used[:, None, None], covariance, P)
    return Update(mean, covariance, residual, innovation, nis, log_likelihood, used)


def kalman_step(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    F: Tensor,
    Q: Tensor,
    H: Tensor,
    R: Tensor,
    *,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
) -> Update:
    """Predict, then update: see `mambats_kernels.kalman.kalman_step`."""
    return kalman_update(*kalman_predict(x, P, F, Q), z, H, R, mask=mask, gate=gate)
