"""B worlds at once: ground, boxes that stand and boxes that move, at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.ground import Ground
from mambats_datasets.synthetic.world.mover import Movers


class Boxes(NamedTuple):
    """Upright boxes; the leading axes are (B, X), or (B, K, X) at K times."""

    centre: Tensor  # (..., X, 3) m
    size: Tensor  # (..., X, 3) length, width, height, m
    yaw: Tensor  # (..., X) rad
    alive: Tensor  # (..., X) bool: whether it is there

    def corners(self) -> Tensor:
        """Corners (..., X, 8, 3): bits of the last-but-one index are the signs of x, y and z in the box."""
        bits = torch.arange(8, device=self.yaw.device)
        signs = torch.stack([bits & 1, bits >> 1 & 1, bits >> 2 & 1], -1).to(self.centre) - 0.5
        return self.points(signs)

    def points(self, share: Tensor) -> Tensor:
        """Places (..., X, P, 3) in the world of points (P, 3) that are given in shares of the size, -0.5 to 0.5."""
        x, y, z = (share * self.size[..., None, :]).unbind(-1)
        cos, sin = self.yaw.cos()[..., None], self.yaw.sin()[..., None]
        return self.centre[..., None, :] + torch.stack([cos * x - sin * y, sin * x + cos * y, z], -1)


@dataclass(frozen=True)
class Scene:
    """B scenes of X = M + S objects: M that move come first, so that the index of an object is its identity.

    Args:
        movers: What moves, M a scene.
        structures: What stands, S a scene.
        kind: Index into `KINDS` of every object, shape (B, X) int64.
        ground: What they stand on.
    """

    movers: Movers
    structures: Boxes
    kind: Tensor
    ground: Ground

    @property
    def batch(self) -> int:
        """B."""
        return self.kind.shape[0]

    @property
    def count(self) -> int:
        """Objects that move, M."""
        return self.movers.speed.shape[1]

    def moving(self, t: Tensor) -> Boxes:
        """The M moving boxes at times t (B, K) in seconds."""
        state = self.movers.at(t)
        size = self.movers.size[:, None].expand(-1, t.shape[1], -1, -1)
        height = self.ground.height(state.place) + size[..., 2] / 2
        return Boxes(torch.cat([state.place, height[..., None]], -1), size, state.yaw, state.alive)

    def boxes(self, t: Tensor) -> Boxes:
        """All X boxes at times t (B, K) in seconds."""
        times = t.shape[1]
        standing = (part[:, None].expand(-1, times, *part.shape[1:]) for part in self.structures)
        return Boxes(*(torch.cat(pair, 2) for pair in zip(self.moving(t), standing, strict=True)))

    def velocity(self, t: Tensor) -> Tensor:
        """Velocity (B, K, M, 3) in m/s of the moving boxes at times t (B, K): along the ground, waves included."""
        state = self.movers.at(t)
        climb = (self.ground.slope(state.place) * state.velocity).sum(-1, keepdim=True)
        return torch.cat([state.velocity, climb], -1)

    def rows(self, chosen: slice) -> Scene:
        """Some of the scenes."""
        ground, movers = self.ground, self.movers
        return Scene(
            Movers(*(getattr(movers, name)[chosen] for name in movers.__dataclass_fields__)),
            Boxes(*(part[chosen] for part in self.structures)),
            self.kind[chosen],
            Ground(*(getattr(ground, name)[chosen] for name in ground.__dataclass_fields__)),
        )

    def to(self, device: torch.device | str) -> Scene:
        """Return the same scenes on another device."""
        structures = Boxes(*(part.to(device) for part in self.structures))
        return Scene(self.movers.to(device), structures, self.kind.to(device), self.ground.to(device))
