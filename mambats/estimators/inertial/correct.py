"""How a measurement corrects an inertial state: gate, gain, Joseph form, and what happens where all is gated out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mambats.estimators.gate import thresholds
from mambats.estimators.inertial.state import BIAS, EXTRA, POSITION, ROTATION, VELOCITY, NavigationState, keep, settled
from mambats.preprocess.imu import so3
from mambats.protocols import Innovation
from mambats_kernels import kalman_update


@dataclass(frozen=True)
class Gate:
    """Which measurements are believed.

    A measurement beyond the chi-square bound is left out. After each `patience` of them in a row from one stream the
    filter takes itself for less sure: all deviations are doubled, until one passes. Not more at once: what was wrong
    may have been the sensor (a wheel that slips for a second), and one step that would have let any residual in left
    64 simulated drives off by 106 m, against 2.5 m (root mean square).

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

    def table(self, size: int, like: Tensor) -> Tensor | None:
        """Return the largest nis that passes by how many of `size` numbers were measured, (size + 1,)."""
        return None if self.probability == 1 else _table(self.probability, size, like.dtype, like.device)


@lru_cache(maxsize=64)
def _table(probability: float, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return thresholds(probability, size).to(dtype=dtype, device=device)


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
    size = residual.shape[-1]
    zero = torch.zeros_like(state.covariance[..., 0])
    made = kalman_update(zero, state.covariance, residual, rows, noise, mask=mask, gate=gate.table(size, residual))
    corrected = inject(state, made.mean)._replace(covariance=made.covariance)
    counted = _count(keep(made.used, corrected, state), mask & ~made.used, made.used, gate.patience, stream)
    return counted, Innovation(made.residual, made.innovation, made.nis, made.log_likelihood, made.used)


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


def _count(state: NavigationState, refused: Tensor, used: Tensor, patience: int, stream: int) -> NavigationState:
    """Count rejections in a row, and double the deviations where patience is at its end."""
    count = torch.where(used, 0.0, state.rejected[:, stream] + refused)
    tired = count >= patience
    rejected = state.rejected.clone()
    rejected[:, stream] = torch.where(tired, 0.0, count)
    # Seldom is anyone tired, and on a CPU the doubling was a fifth of a run; a GPU would have to be waited for.
    if not tired.is_cuda and not torch.compiler.is_compiling() and not bool(tired.any()):
        return state._replace(rejected=rejected)
    covariance = torch.where(tired[:, None, None], settled(4 * state.covariance), state.covariance)
    return state._replace(covariance=covariance, rejected=rejected)
