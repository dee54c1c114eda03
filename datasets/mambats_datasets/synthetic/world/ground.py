"""The ground: a plane, or gentle waves on it, and where rays meet it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.chance import uniform

# Of 204,800 rays of a LiDAR, none needed more than 12 steps over waves of 0.3 m, nor more than 24 over 2 m; 16 left 4.
STEPS = 24


@dataclass(frozen=True)
class Ground:
    """Height of the ground, h(p) = level + sum_w amplitude_w sin(wave_w . p + phase_w).

    Args:
        level: Mean height, shape (B,), metres.
        amplitude: Of each wave, shape (B, W), metres, >= 0; W = 0 is a plane.
        wave: Wave vectors, shape (B, W, 2), rad/m.
        phase: Shape (B, W), rad.
    """

    level: Tensor
    amplitude: Tensor
    wave: Tensor
    phase: Tensor

    @classmethod
    def draw(cls, generator: torch.Generator, level: Tensor, relief: float, waves: int = 3) -> Ground:
        """Draw waves 40 to 120 m long under a level (B,); `relief` is the highest they reach together, metres."""
        batch, count = level.shape[0], waves if relief > 0 else 0
        number = 2 * torch.pi / uniform(generator, batch, count, low=40.0, high=120.0)
        angle = uniform(generator, batch, count, high=2 * torch.pi)
        wave = number[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
        amplitude = torch.full_like(number, relief / max(count, 1))
        return cls(level, amplitude, wave, uniform(generator, batch, count, high=2 * torch.pi))

    def height(self, place: Tensor) -> Tensor:
        """Height (B, ...) in metres at places (B, ..., 2)."""
        return self._over(place, self.level) + self._waves(place)[0]

    def slope(self, place: Tensor) -> Tensor:
        """Gradient (B, ..., 2) of the height at places (B, ..., 2), dimensionless."""
        return self._waves(place)[1]

    def normal(self, place: Tensor) -> Tensor:
        """Unit normals (B, ..., 3), upwards, at places (B, ..., 2)."""
        slope = self.slope(place)
        return torch.nn.functional.normalize(torch.cat([-slope, torch.ones_like(slope[..., :1])], -1), dim=-1)

    def cast(self, origin: Tensor, direction: Tensor, limit: float) -> Tensor:
        """Range at which rays first meet the ground.

        Let f be the height of a ray over the ground and C a bound of |f''| along it. From a place where f > 0, the
        step 2 f / (sqrt(f'^2 + 2 C f) - f') reaches no farther than the first root, and near a root it is Newton's:
        no hill is jumped over, and the error falls quadratically. On a plane one step is exact.

        Args:
            origin: Shape (B, K, 3), metres, above the ground.
            direction: Unit vectors, shape (B, K, n, 3); their dtype is that of the result.
            limit: Longest range of interest, metres.

        Returns:
            Ranges (B, K, n) in metres, infinite where there is none up to `limit`.
        """
        like = direction
        clear = (origin[..., 2] - self._over(origin[..., 0], self.level)).to(like)[..., None]  # (B, K, 1)
        start = (origin[..., :2] @ self.wave.mT + self.phase[:, None]) % (2 * torch.pi)  # exact far from the origin too
        start = start.to(like)[:, :, None]  # (B, K, 1, W)
        waves = self.wave.to(like)[:, None, None]  # by products and sums: see `pose.turned`
        rate = direction[..., :1] * waves[..., 0] + direction[..., 1:2] * waves[..., 1]  # (B, K, n, W)
        amplitude = self.amplitude.to(like)[:, None, None]
        bend = (amplitude * rate.square()).sum(-1)
        reach = torch.zeros_like(bend)
        for _ in range(STEPS if self.amplitude.shape[-1] else 1):
            turn = start + reach[..., None] * rate
            over = clear + reach * direction[..., 2] - (amplitude * turn.sin()).sum(-1)
            fall = direction[..., 2] - (amplitude * rate * turn.cos()).sum(-1)
            over = over.clamp_min(0)
            step = 2 * over / ((fall.square() + 2 * bend * over).sqrt() - fall)
            reach = torch.where(over > 0, reach + step, reach).clamp_max(2 * limit)
        turn = start + reach[..., None] * rate
        over = clear + reach * direction[..., 2] - (amplitude * turn.sin()).sum(-1)
        near = 1e-10 if like.dtype == torch.float64 else 1e-3
        met = (over.abs() <= near) & (reach <= limit)
        return torch.where(met, reach, torch.inf)

    def to(self, device: torch.device | str) -> Ground:
        """Return the same ground on another device."""
        return Ground(*(part.to(device) for part in (self.level, self.amplitude, self.wave, self.phase)))

    def _waves(self, place: Tensor) -> tuple[Tensor, Tensor]:
        shape = (place.shape[0], *(1,) * (place.ndim - 2))
        amplitude = self.amplitude.view(*shape, -1)
        wave = self.wave.view(*shape, -1, 2)
        turn = (place[..., None, :] * wave).sum(-1) + self.phase.view(*shape, -1)
        slope = ((amplitude * turn.cos())[..., None] * wave).sum(-2)
        return (amplitude * turn.sin()).sum(-1), slope

    def _over(self, like: Tensor, level: Tensor) -> Tensor:
        """Give the level the axes of what has B first."""
        axes = like.ndim - 1 if like.shape[-1:] != (2,) else like.ndim - 2
        return level.view(-1, *(1,) * axes)
