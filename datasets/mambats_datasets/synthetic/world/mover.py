"""How things move: along arcs, at a speed that swings, with exact position, velocity and yaw rate at any time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


class MoverState(NamedTuple):
    """Movers at times (B, K)."""

    place: Tensor  # (B, K, M, 2) m
    yaw: Tensor  # (B, K, M) rad
    velocity: Tensor  # (B, K, M, 2) m/s
    yaw_rate: Tensor  # (B, K, M) rad/s
    alive: Tensor  # (B, K, M) bool


@dataclass(frozen=True)
class Movers:
    """M things a scene, each on an arc of constant curvature.

    The way along the arc is s(t) = speed ((t - pivot) + swing / rate (sin(rate t + phase) - sin(rate pivot + phase))):
    the speed swings about its mean by a share `swing` < 1 and never turns negative.

    Args:
        place: Where each is at its pivot time, shape (B, M, 2), metres.
        heading: At its pivot time, shape (B, M), rad.
        curvature: Shape (B, M), 1/m.
        speed: Mean speed, shape (B, M), m/s.
        swing: Rows of share, rate [rad/s] and phase [rad], shape (B, M, 3).
        life: Rows of birth, pivot and death, shape (B, M, 3), seconds; there from birth on and before death.
        size: Length, width and height, shape (B, M, 3), metres.
    """

    place: Tensor
    heading: Tensor
    curvature: Tensor
    speed: Tensor
    swing: Tensor
    life: Tensor
    size: Tensor

    def at(self, t: Tensor) -> MoverState:
        """Return all movers at times t (B, K) in seconds."""
        t = t[..., None].to(self.speed)
        share, rate, phase = (part[:, None] for part in self.swing.unbind(-1))
        birth, pivot, death = (part[:, None] for part in self.life.unbind(-1))
        swung = share / rate * ((rate * t + phase).sin() - (rate * pivot + phase).sin())
        way = self.speed[:, None] * (t - pivot + swung)
        speed = self.speed[:, None] * (1 + share * (rate * t + phase).cos())
        turned = self.curvature[:, None] * way
        chord = way * torch.sinc(turned / (2 * torch.pi))  # torch's sinc has pi inside; no division where straight
        yaw = self.heading[:, None] + turned
        place = self.place[:, None] + chord[..., None] * _unit(self.heading[:, None] + turned / 2)
        alive = (t >= birth) & (t < death)
        return MoverState(place, yaw, speed[..., None] * _unit(yaw), self.curvature[:, None] * speed, alive)

    def to(self, device: torch.device | str) -> Movers:
        """Return the same movers on another device."""
        return Movers(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def _unit(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)
