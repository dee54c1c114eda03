"""An IMU seen from another place on the same body."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mambats.preprocess.carried import Array, Carried, Values, finite, give
from mambats.preprocess.signal.recursive import Derivative, Past


class MovedImu(NamedTuple):
    """State of the derivative of the angular rate."""

    rate: Past


class MoveImu(Carried[MovedImu]):
    """Give angular rate and specific force as an IMU at the origin of another frame would measure them.

    w' = R w; f' = R f - alpha x r - w' x (w' x r), with the sensor at r in the new frame and alpha the angular
    acceleration. Rows are wx wy wz ax ay az [rad/s, m/s^2].

    Args:
        mounting: Pose of the IMU in the new frame, (4, 4): `frames.transform("base_link", "imu")`.
        rate: Rows a second where no gaps are given, Hz.
        angular: Where alpha comes from: the `backward` difference of w' (causal, half a gap late, noisy: filter the
            rates before; 0 in the first row), or `none` where the arm is short.

    Source: Titterton and Weston, Strapdown Inertial Navigation Technology, 2004, section 2.3 (size effect).
    """

    def __init__(
        self,
        mounting: npt.NDArray[np.float64] | list[list[float]],
        rate: float = 100.0,
        angular: Literal["backward", "none"] = "backward",
    ) -> None:
        made = np.asarray(mounting, dtype=np.float64)
        if made.shape != (4, 4) or angular not in ("backward", "none"):
            raise ValueError(f"mounting has shape {made.shape}, angular is {angular!r}: (4, 4), 'backward' or 'none'.")
        self.turn, self.arm = made[:3, :3], made[:3, 3]
        self.angular = angular
        self.derivative = Derivative(rate)

    def start(self, channels: int = 6, batch: tuple[int, ...] = ()) -> MovedImu:
        """Return the state before any row."""
        _needs_six(channels)
        return MovedImu(self.derivative.start(3, batch))

    def transform(self, values: Array, state: MovedImu, gaps: Array | None = None) -> tuple[Array, MovedImu]:
        """Move one chunk; a row whose rates are absent has no force either."""
        _needs_six(np.shape(values)[-1])
        exact, _ = finite(values)
        rates, forces = exact[..., :3] @ self.turn.T, exact[..., 3:] @ self.turn.T
        change, past = self.derivative.transform(rates, state.rate, gaps)
        if self.angular == "none":
            change = np.zeros_like(rates)
        first = np.isnan(change) & ~np.isnan(rates)  # the derivative of the first rate is not known
        moved = lever_arm(rates, forces, self.arm, np.where(first, 0.0, change))
        return give(np.concatenate([rates, moved], -1), values), MovedImu(past)

    def covariance(self, values: Array, given: Array) -> Values:
        """Return covariances (..., T, 6, 6) of moved rows from those (6, 6) or (..., T, 6, 6) of `values` (..., T, 6).

        J P J^T with J = [[R, 0], [-D R, R]], D = d(w x (w x r)) / dw; the noise of alpha is left out.
        """
        rates = np.asarray(values, dtype=np.float64)[..., :3] @ self.turn.T
        outer = rates[..., :, None] * self.arm
        slope = (rates @ self.arm)[..., None, None] * np.eye(3) + outer - 2 * outer.swapaxes(-1, -2)
        jacobian = np.zeros((*rates.shape[:-1], 6, 6))
        jacobian[..., :3, :3] = jacobian[..., 3:, 3:] = self.turn
        jacobian[..., 3:, :3] = -slope @ self.turn
        return jacobian @ given @ jacobian.swapaxes(-1, -2)


def lever_arm(rates: Values, forces: Values, arm: Values, angular_acceleration: Values | float = 0.0) -> Values:
    """Return the specific force at the origin from that measured at `arm` (3,), metres; all in one frame, (..., 3)."""
    x, y, z = (float(value) for value in arm)
    across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])  # a @ across = a x arm
    outward = rates * (rates @ arm)[..., None] - (rates * rates).sum(-1)[..., None] * arm
    return forces - np.broadcast_to(angular_acceleration, np.shape(rates)) @ across - outward


def _needs_six(channels: Any) -> None:
    if channels != 6:
        raise ValueError(f"there are {channels} channels, needed six: wx wy wz ax ay az.")
