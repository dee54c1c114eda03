"""Rectangles as a detector on a picture would give them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.camera import Camera
from mambats_datasets.synthetic.world.chance import choice, normal, uniform
from mambats_datasets.synthetic.world.crowd import SHARES
from mambats_datasets.synthetic.world.detections import FALSE, FALSE_SCORE, TRUE_SCORE, draw_scores
from mambats_datasets.synthetic.world.kinds import MOVING
from mambats_datasets.synthetic.world.outline import Outlines

SMALL = (2.0, 6.0)  # px of height at which nothing and everything is detected
SHOWN = (0.05, 0.4)  # shares of the rectangle's pixels that show the object, the same


class Detections2D(NamedTuple):
    """D rectangles in T pictures of B scenes, the highest score first."""

    sides: Tensor  # (B, T, D, 4) left, top, right, bottom, px
    score: Tensor  # (B, T, D) 0 to 1
    kind: Tensor  # (B, T, D) int64: index into KINDS
    present: Tensor  # (B, T, D) bool; the rest is padding
    identity: Tensor  # (B, T, D) int64: index of the object, FALSE where there is none. For scoring only


@dataclass(frozen=True)
class PictureDetector:
    """A detector of what moves, in pictures.

    An object is detected with the chance hit clip((height - 2 px) / 4 px) clip((shown - 0.05) / 0.35), shown being the
    share of its rectangle's pixels that show it; scores follow the law of `Detector`.

    Args:
        noise: Standard deviation of each side, px.
        hit: Chance to detect a large, plain object.
        clutter: Mean number of false rectangles a picture, Poisson.
    """

    noise: float = 0.7
    hit: float = 0.95
    clutter: float = 0.3

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.noise < 0 or not 0 <= self.hit <= 1 or self.clutter < 0:
            raise ValueError(
                f"noise is {self.noise} px, hit {self.hit}, clutter {self.clutter}: needed at least 0, 0 to 1, at "
                "least 0."
            )

    def detect(self, seen: Outlines, kind: Tensor, camera: Camera, generator: torch.Generator) -> Detections2D:
        """Draw detections of outlines of objects of kinds (B, M), with noise from a generator on the same device."""
        left, top, right, bottom = seen.sides.unbind(-1)
        shown = seen.pixels / ((right - left) * (bottom - top)).clamp_min(1.0)
        chance = _ramp(bottom - top, SMALL) * _ramp(shown, SHOWN) * seen.inside
        found = uniform(generator, *chance.shape) < self.hit * chance
        sides = _ordered(seen.sides + self.noise * normal(generator, *seen.sides.shape), camera)
        identity = torch.arange(found.shape[2], device=found.device).expand_as(found)
        score = draw_scores(TRUE_SCORE, chance, generator)
        true = Detections2D(sides, score, kind[:, None].expand_as(found), found, identity)
        false = self._false(found.shape[0], found.shape[1], camera, generator)
        return _sorted(Detections2D(*(torch.cat(pair, 2) for pair in zip(true, false, strict=True))))

    def _false(self, batch: int, times: int, camera: Camera, generator: torch.Generator) -> Detections2D:
        """False rectangles anywhere in the picture, 2 to 20 px wide and high."""
        shape = (batch, times, math.ceil(self.clutter + 4 * math.sqrt(self.clutter)))
        mean = torch.full(shape[:2], self.clutter, dtype=torch.float64, device=generator.device)
        count = torch.poisson(mean, generator=generator)
        present = torch.arange(shape[2], device=generator.device) < count[..., None]
        size = torch.tensor([camera.width, camera.height], device=generator.device)
        low = uniform(generator, *shape, 2) * size - 0.5
        sides = torch.cat([low, low + uniform(generator, *shape, 2, low=2.0, high=20.0)], -1)
        kind = choice(generator, MOVING, SHARES, *shape)
        score = draw_scores(FALSE_SCORE, torch.zeros_like(low[..., 0]), generator)
        return Detections2D(_ordered(sides, camera), score, kind, present, torch.full_like(kind, FALSE))


def _ramp(value: Tensor, edges: tuple[float, float]) -> Tensor:
    return ((value - edges[0]) / (edges[1] - edges[0])).clamp(0, 1)


def _ordered(sides: Tensor, camera: Camera) -> Tensor:
    """Within the picture, left before right and top before bottom."""
    border = torch.tensor([camera.width, camera.height], device=sides.device, dtype=sides.dtype) - 0.5
    first, last = sides[..., :2].clamp_min(-0.5), sides[..., 2:].clamp_min(-0.5)
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    return torch.cat([torch.minimum(low, border), torch.minimum(high, border)], -1)


def _sorted(found: Detections2D) -> Detections2D:
    """The highest score first, padding last with zeros."""
    rank = found.score.masked_fill(~found.present, -1.0).argsort(stable=True, dim=-1, descending=True)
    here = found.present.gather(2, rank)
    return Detections2D(
        found.sides.gather(2, rank[..., None].expand(*rank.shape, 4)).where(here[..., None], 0.0),
        found.score.gather(2, rank).where(here, 0.0),
        found.kind.gather(2, rank).where(here, 0),
        here,
        found.identity.gather(2, rank).where(here, FALSE),
    )
