"""Things that drive along arcs in the plane, and sensors that see them at an angle and a distance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.estimators.models import Motion, Noise, Sensor


class CoordinatedTurn(Motion):
    """Constant speed and turn rate: px, py, vx, vy in m and m/s, and the turn rate in rad/s, left positive.

    Args:
        noise: Of five numbers, such as `BlockNoise([WhiteAcceleration([...] * 2), RandomWalk([...])])`.

    Raises:
        ValueError: If the noise is not of five numbers.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, equation
        11.7.1-4.
    """

    size = 5

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        if noise.size != 5:
            raise ValueError(f"noise is of {noise.size} numbers: need 5, of px, py, vx, vy and turn rate.")
        self.noise = noise

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return the state (B, 5) after elapsed (B,) seconds."""
        px, py, vx, vy, rate = x.unbind(-1)
        angle = rate * elapsed
        # sin(angle) / rate and (1 - cos(angle)) / rate, straight ahead too.
        ahead = elapsed * torch.sinc(angle / math.pi)
        aside = elapsed * (angle / 2) * torch.sinc(angle / (2 * math.pi)).square()
        cos, sin = angle.cos(), angle.sin()
        moved = (px + ahead * vx - aside * vy, py + aside * vx + ahead * vy, cos * vx - sin * vy, sin * vx + cos * vy)
        return torch.stack([*moved, rate], -1)


class BearingRange(Sensor):
    """Bearing in rad, counter-clockwise from x, and distance in metres of a state that begins with px, py.

    Args:
        noise: Of two numbers, bearing and distance.
        place: Where the sensor stands, x and y in metres.

    Raises:
        ValueError: If the noise is not of two numbers or the place not two.
    """

    size = 2
    _place: Tensor

    def __init__(self, noise: Noise, place: Sequence[float] = (0.0, 0.0)) -> None:
        super().__init__()
        if noise.size != 2 or len(place) != 2:
            raise ValueError(f"noise is of {noise.size} numbers, place of {len(place)}: need 2 of each.")
        self.noise, self.place = noise, place
        self.register_buffer("_place", torch.tensor(place), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return bearing and distance (B, 2) of states (B, n)."""
        away = x[..., :2] - self._place.to(x)
        # At the sensor's own place neither has a slope: a nanometre keeps the distance's finite.
        distance = (away.square().sum(-1) + 1e-18).sqrt()
        return torch.stack([torch.atan2(away[..., 1], away[..., 0]), distance], -1)

    def residual(self, value: Tensor, predicted: Tensor) -> Tensor:
        """Return measured less predicted, the bearing within half a turn."""
        bearing, distance = (value - predicted).unbind(-1)
        return torch.stack([torch.remainder(bearing + math.pi, 2 * math.pi) - math.pi, distance], -1)
