"""A unit on a bench: laid to rest in one attitude after the other, as accelerometers are calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion, columns, compose
from mambats_datasets.synthetic.smoothstep import step, step_bend, step_rate

HOLD, TURN = 4.0, 1.5  # s in an attitude, and from one to the next
ANGLE = (math.radians(60), math.radians(180))  # of one turn, drawn between


@dataclass(frozen=True)
class Tumble:
    """Rests of `hold` seconds, and between them turns about fixed axes; the place is 0 throughout.

    Args:
        duration: Seconds.
        hold: Seconds of each rest.
        attitudes: Quaternions x y z w of the rests, shape (B, N, 4).
        turns: Rotation vectors from each rest to the next, in the body, shape (B, N, 3), rad.
    """

    duration: float
    hold: float
    attitudes: Tensor
    turns: Tensor

    @classmethod
    def random(cls, batch: int, duration: float, generator: torch.Generator, hold: float = HOLD) -> Self:
        """Draw attitudes: the first of all rotations alike, each next by a turn about a random axis."""
        count, device = int(duration / (hold + TURN)) + 1, generator.device
        drawn = torch.randn((batch, count, 4), generator=generator, device=device, dtype=torch.float64)
        share = torch.rand((batch, count, 1), generator=generator, device=device, dtype=torch.float64)
        axes = drawn[..., :3] / drawn[..., :3].norm(dim=-1, keepdim=True)
        turns = axes * (ANGLE[0] + (ANGLE[1] - ANGLE[0]) * share)
        attitudes = [drawn[:, 0] / drawn[:, 0].norm(dim=-1, keepdim=True)]
        for index in range(count - 1):
            attitudes.append(compose(attitudes[-1], _exponential(turns[:, index])))
        return cls(duration, hold, torch.stack(attitudes, 1), turns)

    @property
    def batch(self) -> int:
        """B."""
        return self.turns.shape[0]

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        period = self.hold + TURN
        index = (t / period).long().clamp(0, self.turns.shape[1] - 1)
        u = (t - index * period - self.hold) / TURN
        turn, rest = (_pick(table, index) for table in (self.turns, self.attitudes))
        quaternion = compose(rest, _exponential(turn * step(u)[..., None]))
        still = torch.zeros_like(turn)
        rate, bend = step_rate(u)[..., None] / TURN, step_bend(u)[..., None] / TURN**2
        return Motion(still, still, still, quaternion, turn * rate, turn * bend)


def _pick(table: Tensor, index: Tensor) -> Tensor:
    """Rows (B, T, n) of a table (B, N, n), components first in memory."""
    return columns(*(part.gather(1, index) for part in table.unbind(-1)))


def _exponential(vector: Tensor) -> Tensor:
    """Quaternion (..., 4) of a rotation vector (..., 3)."""
    half = vector.norm(dim=-1, keepdim=True) / 2
    return torch.cat([vector * (torch.sinc(half / math.pi) / 2), half.cos()], -1)
