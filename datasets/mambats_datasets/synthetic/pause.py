"""Bodies that stop and go: a trajectory on a clock that stands still now and then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.smoothstep import step, step_integral, step_rate

# s. At rest at the beginning, so that filters find gravity and the gyroscopes' biases; then a stop in every period.
FIRST, PERIOD, STAY = 3.0, 20.0, (2.0, 6.0)
BRAKE = 2.0  # s to come to rest, and to be back at full pace


class Going(Protocol):
    """What can be paused: B trajectories."""

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        ...


@dataclass(frozen=True)
class Paused:
    """Another trajectory on its own clock s(t): position p(s), velocity p' ds/dt, and so on by the chain rule.

    The pace ds/dt goes from 0 to 1 after every even edge and back after every odd one, within `BRAKE` seconds.

    Args:
        duration: Seconds.
        going: Trajectories without pauses, of the same duration; their attitude must not follow from acceleration.
        edges: When the pace begins to change, shape (B, N), s, rising by at least `BRAKE`, the first to full pace.
    """

    duration: float
    going: Going
    edges: Tensor

    @classmethod
    def random(cls, going: Going, batch: int, duration: float, generator: torch.Generator) -> Self:
        """Rest at first, then once in every period at a random place and for a random time."""
        count, device = int(duration / PERIOD), generator.device
        drawn = torch.rand((2, batch, count), generator=generator, device=device, dtype=torch.float64)
        stay = STAY[0] + (STAY[1] - STAY[0]) * drawn[1]
        start = FIRST + PERIOD * torch.arange(count, device=device, dtype=torch.float64)
        down = start + BRAKE + (PERIOD - 3 * BRAKE - stay) * drawn[0]
        up = down + BRAKE + stay
        edges = torch.stack([down, up], -1).flatten(1)
        return cls(duration, going, torch.cat([edges.new_full((batch, 1), FIRST), edges], 1))

    @property
    def batch(self) -> int:
        """B."""
        return self.edges.shape[0]

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        clock, pace, rate = (part[..., None] for part in self.clock(t))
        free = self.going(clock[..., 0])
        return replace(
            free,
            velocity=free.velocity * pace,
            acceleration=free.acceleration * pace.square() + free.velocity * rate,
            angular_velocity=free.angular_velocity * pace,
            angular_acceleration=free.angular_acceleration * pace.square() + free.angular_velocity * rate,
        )

    def clock(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """s, its pace and the pace's rate at times t, three tensors (B, T) in s, 1 and 1/s. At rest the pace is 0."""
        last = torch.searchsorted(self.edges, t.contiguous(), right=True) - 1
        slows = (last % 2 == 1).double()  # -1, before the first edge, counts as slowing to rest, long ago
        since = t - self.edges.gather(1, last.clamp_min(0))
        u = torch.where(last < 0, 1.0, since / BRAKE)
        sign = 1 - 2 * slows
        gone = torch.where(last < 0, 0.0, self._gone().gather(1, last.clamp_min(0)) + slows * since)
        clock = gone + sign * BRAKE * torch.where(last < 0, 0.0, step_integral(u))
        return clock, slows + sign * step(u), sign / BRAKE * step_rate(u)

    def _gone(self) -> Tensor:
        """The clock at each edge, (B, N): half of a change of pace goes by, and all of the time at full pace."""
        apart = self.edges.diff(dim=1)
        odd = torch.arange(apart.shape[1], device=apart.device) % 2 == 1
        gone = torch.where(odd, BRAKE / 2, apart - BRAKE / 2).cumsum(1)
        return torch.cat([torch.zeros_like(self.edges[:, :1]), gone], 1)
