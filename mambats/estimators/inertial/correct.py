"""How a measurement corrects an inertial state: gate, gain, Joseph form, and what happens where all is gated out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mambats.estimators.gate import chi_square
from mambats.estimators.inertial.state import BIAS, EXTRA, POSITION, ROTATION, VELOCITY, NavigationState, keep, settled
from mambats.preprocess.imu import so3
from mambats.protocols import Innovation


@dataclass(frozen=True)
class Gate:
    """Which measurements are believed.

    A measurement beyond the chi-square bound is left out. After `patience` of them in a row from one stream the filter
    takes itself for wrong: the covariance is widened until such a residual is common, so that the next one passes.

    Args:
        probability: That a measurement of a consistent filter passes; 1 lets all through.
        patience: Rejections in a row that are borne.

    Raises:
        ValueError: If the probability lies outside (0, 1] or patience is below 1.
    """

    probability: float = 0.999
    patience: int = 10

    def __post_init__(self) -> None:
        """Check numbers."""
        if not 0 < self.probability <= 1 or self.patience < 1:
            raise ValueError(
                f"probability is {self.probability} and patience {self.patience}: need one in (0, 1] and one from 1 on."
            )

    def bound(self, size: int) -> float:
        """Return the largest nis that passes, of a measurement of `size` numbers."""
        return math.inf if self.probability == 1 else _bound(self.probability, size)


@lru_cache(maxsize=64)
def _bound(probability: float, size: int) -> float:
    return chi_square(probability, size)


def correct(
    state: NavigationState, residual: Tensor, rows: Tensor, noise: Tensor, mask: Tensor, gate: Gate, stream: int
) -> tuple[NavigationState, Innovation]:
    """Correct a state by a residual.

    Args:
        state: Predicted to the moment of the measurement.
        residual: Measured less predicted, shape (B, m).
        rows: Jacobian of the prediction by the error, shape (B, m, n).
        noise: Covariance of the measurement, shape (B, m, m).
        mask: Which bodies measured, shape (B,) bool; a residual that is not finite counts as not measured.
        gate: Which to believe.
        stream: Place in `state.rejected`.
    """
    mask = mask & torch.isfinite(residual).all(-1)
    residual = torch.where(mask[:, None], residual, 0.0)
    cross = state.covariance @ rows.mT
    spread = rows @ cross + noise
    spread = 0.5 * (spread + spread.mT)
    factor, failed = torch.linalg.cholesky_ex(spread)
    white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    nis = white.square().sum(-1)
    log_root = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    size = residual.shape[-1]
    likelihood = -0.5 * (nis + size * math.log(2 * math.pi)) - log_root
    mask = mask & (failed == 0)
    inside = nis <= gate.bound(size)
    used = mask & inside
    gain = torch.cholesky_solve(cross.mT, factor).mT
    corrected = inject(state, (gain @ residual[..., None])[..., 0])
    keeping = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device) - gain @ rows
    covariance = keeping @ state.covariance @ keeping.mT + gain @ noise @ gain.mT
    corrected = corrected._replace(covariance=settled(covariance))
    # Widened by so much, each number of the residual lies within its deviation however large the noise.
    share = (spread.diagonal(dim1=-2, dim2=-1) / (rows @ cross).diagonal(dim1=-2, dim2=-1)).amax(-1)
    made = _count(keep(used, corrected, state), nis / size * share, mask & ~used, used, gate.patience, stream)
    return made, Innovation(residual, spread, nis, likelihood, used)


def inject(state: NavigationState, error: Tensor) -> NavigationState:
    """Move the state by an error (B, n); the covariance's turn by half the error of rotation is left out."""
    quaternion = so3.product(state.quaternion, so3.exponential(error[:, ROTATION]))
    return state._replace(
        quaternion=quaternion / quaternion.norm(dim=-1, keepdim=True),
        velocity=state.velocity + error[:, VELOCITY],
        position=state.position + error[:, POSITION],
        bias=state.bias + error[:, BIAS],
        extra=state.extra + error[:, EXTRA:],
    )


def _count(
    state: NavigationState, excess: Tensor, refused: Tensor, used: Tensor, patience: int, stream: int
) -> NavigationState:
    """Count rejections in a row, and widen the covariance by the excess where patience is at its end."""
    count = torch.where(used, 0.0, state.rejected[:, stream] + refused)
    tired = count >= patience
    factor = torch.where(tired, excess.detach().clamp_min(1.0), 1.0)
    rejected = state.rejected.clone()
    rejected[:, stream] = torch.where(tired, 0.0, count)
    covariance = torch.where(tired[:, None, None], settled(state.covariance * factor[:, None, None]), state.covariance)
    return state._replace(covariance=covariance, rejected=rejected)
