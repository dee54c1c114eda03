"""How bodies look to a sensor: numbers of their own, seen from a side and a distance, with noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.objects import Objects

OWN = 6  # numbers that a body has of its own
FEATURES = 16  # numbers that a detection shows
SAME = 1.5  # metres from a body within which a detection is of it
MIXED = 7  # seed of how features come about: the same in all scenes


class Looks(NamedTuple):
    """Of the detections of a scene.

    Args:
        features: Shape (N, 16).
        body: Identity of the body behind each, -1 where none, shape (N,) int64.
    """

    features: Tensor
    body: Tensor


def appearance(truth: Objects, found: Objects, generator: torch.Generator, noise: float = 0.3) -> Looks:
    """Draw the looks of a scene's detections.

    A body's six numbers are normal and constant; a detection shows sixteen that mix them with the side it is seen
    from and the distance, bent by a tanh, plus noise that doubles by 40 m. Clutter shows a body that is nowhere else.

    Args:
        truth: Labels of the scene, with identities.
        found: Its detections.
        generator: For numbers and noise.
        noise: Deviation next to the sensor.

    Raises:
        ValueError: If labels have no identities.
    """
    if truth.identity is None:
        raise ValueError("labels have no identities: nobody can tell who looks how.")
    body = _bodies(truth, truth.identity, found)
    names, row = body.unique(return_inverse=True)
    own = torch.randn(len(names), OWN, generator=generator)[row]
    nobody = torch.randn(len(body), OWN, generator=generator)
    own = torch.where((body < 0)[:, None], nobody, own)
    place, yaw = found.boxes[:, :2].float(), found.boxes[:, 6].float()
    side, far = torch.atan2(place[:, 1], place[:, 0]) - yaw, place.norm(dim=-1) / 40
    shown = torch.cat([own, torch.stack([side.cos(), side.sin(), far], -1)], -1)
    mix = torch.randn(OWN + 3, FEATURES, generator=torch.Generator().manual_seed(MIXED))
    blur = noise * (1 + far)[:, None] * torch.randn(len(body), FEATURES, generator=generator)
    return Looks(torch.tanh(shown @ mix / 2) + blur, body)


def _bodies(truth: Objects, identity: Tensor, found: Objects) -> Tensor:
    """Identity of the nearest body of each detection, -1 where none is near."""
    body = torch.full((len(found.boxes),), -1)
    for f in range(len(found)):
        mine = slice(int(found.splits[f]), int(found.splits[f + 1]))
        rows = slice(int(truth.splits[f]), int(truth.splits[f + 1]))
        if mine.start < mine.stop and rows.start < rows.stop:
            away, which = (found.boxes[mine, None, :2] - truth.boxes[None, rows, :2]).norm(dim=-1).min(1)
            body[mine] = torch.where(away < SAME, identity[rows][which], -1)
    return body
