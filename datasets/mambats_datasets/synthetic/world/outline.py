"""Boxes in a picture: the rectangle around what a camera would see of each if nothing hid it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.camera import CLOSE, Camera
from mambats_datasets.synthetic.world.pose import Pose
from mambats_datasets.synthetic.world.scene import Boxes

EDGES = ((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7))


class Outlines(NamedTuple):
    """Rectangles of M objects in T pictures of B scenes."""

    sides: Tensor  # (B, T, M, 4) left, top, right, bottom, cut at the picture's border, px
    inside: Tensor  # (B, T, M) bool: it is there and some of it is in the picture
    pixels: Tensor  # (B, T, M) int64: how many pixels show it


def outlines(boxes: Boxes, camera: Camera, pose: Pose, index: Tensor) -> Outlines:
    """Outline boxes (B, T, M) in T pictures whose pixels show objects `index` (B, T, H, W)."""
    count = boxes.yaw.shape[2]
    corners = pose.into(boxes.corners().flatten(2, 3)).unflatten(2, (count, 8))
    first, last = torch.tensor(EDGES, device=index.device).T
    ends = torch.cat([_before(corners[..., first, :], corners[..., last, :]),
                      _before(corners[..., last, :], corners[..., first, :])], -2)  # fmt: skip
    seen = ends[..., 2] >= CLOSE * 0.999
    size = torch.tensor([camera.width, camera.height], device=index.device, dtype=ends.dtype)
    pixel = camera.focal * ends[..., :2] / ends[..., 2:].clamp_min(CLOSE) + (size - 1) / 2
    low = pixel.masked_fill(~seen[..., None], torch.inf).amin(-2)
    high = pixel.masked_fill(~seen[..., None], -torch.inf).amax(-2)
    inside = boxes.alive & (high > -0.5).all(-1) & (low < size - 0.5).all(-1) & (low < high).all(-1)
    sides = torch.cat([low.clamp_min(-0.5), torch.minimum(high, size - 0.5)], -1)
    return Outlines(sides.masked_fill(~inside[..., None], 0.0), inside, _pixels(index, count))


def _before(near: Tensor, far: Tensor) -> Tensor:
    """Ends `near` of edges, moved along them into the picture's side of the camera where they lie behind it."""
    depth, other = near[..., 2:], far[..., 2:]
    along = (CLOSE - depth) / torch.where(other == depth, 1.0, other - depth)
    return torch.where((depth < CLOSE) & (other > CLOSE), near + along * (far - near), near)


def _pixels(index: Tensor, count: int) -> Tensor:
    flat = index.flatten(2)
    shown = torch.zeros((*flat.shape[:2], count + 1), dtype=torch.int64, device=index.device)
    slot = torch.where((flat >= 0) & (flat < count), flat, count)
    return shown.scatter_add_(2, slot, torch.ones_like(flat))[..., :count]
