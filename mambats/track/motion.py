"""How a box moves: at constant velocity, at constant acceleration, or along an arc.

All states begin with x, y, z, length, width, height, yaw (`mambats.track.objects.BOX`) and vx, vy, vz.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.estimators import BlockNoise, LinearMotion, Motion, Noise, RandomWalk, WhiteAcceleration, WhiteJerk
from mambats.track.tracks import SEEN


class Ordered(Noise):
    """The covariance of another noise with its numbers in another order.

    Args:
        noise: Whose covariance.
        order: Of each number here, which one it is there, shape (k,).

    Raises:
        ValueError: If the order is none of all numbers.
    """

    _order: Tensor

    def __init__(self, noise: Noise, order: Sequence[int]) -> None:
        super().__init__()
        self.noise, self.order, self.size = noise, order, noise.size
        if sorted(order) != list(range(noise.size)):
            raise ValueError(f"order is {list(order)}: needed each of 0 to {noise.size - 1} once.")
        self.register_buffer("_order", torch.tensor(order), persistent=False)

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k)."""
        inner = None if scale is None else scale[:, self._order.argsort()]
        return self.noise(elapsed, inner)[:, self._order][:, :, self._order]


class _Straight(LinearMotion):
    """A chain of integrals: A is nilpotent, so exp(A t) is a short sum, and exact."""

    def jacobian(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return exp(A elapsed), shape (B, n, n)."""
        step = self.rate_matrix.to(x) * elapsed.to(x)[:, None, None]
        return torch.eye(self.size, dtype=x.dtype, device=x.device) + step + step @ step / 2


class ConstantVelocity(_Straight):
    """x, y, z, length, width, height, yaw, vx, vy, vz: the place moves by the velocity, the rest stays.

    Args:
        acceleration: Density of white acceleration along x, y and z, m/s^1.5.
        walk: Density of the random walk of length, width, height (m / s^0.5) and yaw (rad / s^0.5).

    Raises:
        ValueError: If a density is not above 0 or their number does not fit.
    """

    def __init__(self, acceleration: Sequence[float], walk: Sequence[float]) -> None:
        _check(acceleration, walk)
        parts = BlockNoise([WhiteAcceleration(acceleration), RandomWalk(walk)])  # x y z vx vy vz, l w h yaw
        super().__init__(_rate(10, {0: 7, 1: 8, 2: 9}), Ordered(parts, [0, 1, 2, 6, 7, 8, 9, 3, 4, 5]))
        self.acceleration, self.walk = acceleration, walk


class ConstantAcceleration(_Straight):
    """As `ConstantVelocity`, with ax, ay, az behind: the velocity moves by the acceleration.

    Args:
        jerk: Density of white jerk along x, y and z, m/s^2.5.
        walk: As of `ConstantVelocity`.

    Raises:
        ValueError: As of `ConstantVelocity`.
    """

    def __init__(self, jerk: Sequence[float], walk: Sequence[float]) -> None:
        _check(jerk, walk)
        parts = BlockNoise([WhiteJerk(jerk), RandomWalk(walk)])  # places, velocities, accelerations, l w h yaw
        order = [0, 1, 2, 9, 10, 11, 12, 3, 4, 5, 6, 7, 8]
        super().__init__(_rate(13, {0: 7, 1: 8, 2: 9, 7: 10, 8: 11, 9: 12}), Ordered(parts, order))
        self.jerk, self.walk = jerk, walk


class ConstantTurn(Motion):
    """As `ConstantVelocity`, with the turn rate in rad/s behind: velocity and yaw turn together, an arc in the plane.

    Args:
        acceleration: As of `ConstantVelocity`.
        turn: Density of white angular acceleration, rad / s^1.5.
        walk: Density of the random walk of length, width, height, m / s^0.5.

    Raises:
        ValueError: As of `ConstantVelocity`.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, equation
        11.7.1-4.
    """

    size = 11

    def __init__(self, acceleration: Sequence[float], turn: float, walk: Sequence[float]) -> None:
        super().__init__()
        if len(acceleration) != 3 or len(walk) != 3:
            raise ValueError(f"acceleration has {len(acceleration)} numbers, walk {len(walk)}: needed 3 and 3.")
        self.acceleration, self.turn, self.walk = acceleration, turn, walk
        parts = BlockNoise([WhiteAcceleration(acceleration), RandomWalk(walk), WhiteAcceleration([turn])])
        self.noise = Ordered(parts, [0, 1, 2, 6, 7, 8, 9, 3, 4, 5, 10])  # x y z vx vy vz, l w h, yaw rate

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return the state (B, 11) after elapsed (B,) seconds."""
        elapsed = elapsed.to(x)
        vx, vy, vz, rate = x[:, 7:].unbind(-1)
        angle = rate * elapsed
        ahead, aside = (
            torch.sinc(angle / torch.pi) * elapsed,
            torch.sinc(angle / 2 / torch.pi) ** 2 * angle / 2 * elapsed,
        )
        cos, sin = angle.cos(), angle.sin()
        moved = torch.stack([ahead * vx - aside * vy, aside * vx + ahead * vy, elapsed * vz], -1)
        turned = torch.stack([cos * vx - sin * vy, sin * vx + cos * vy], -1)
        return torch.cat([x[:, :3] + moved, x[:, 3:6], (x[:, 6] + angle)[:, None], turned, x[:, 9:]], -1)


def _rate(size: int, moved_by: dict[int, int]) -> list[list[float]]:
    """The matrix A of dx/dt = A x where numbers are moved by others."""
    rows = [[0.0] * size for _ in range(size)]
    for moved, by in moved_by.items():
        rows[moved][by] = 1.0
    return rows


def _check(drive: Sequence[float], walk: Sequence[float]) -> None:
    if len(drive) != 3 or len(walk) != SEEN - 3:
        raise ValueError(f"there are {len(drive)} densities along axes and {len(walk)} of the walk: needed 3 and 4.")
