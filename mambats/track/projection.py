"""Boxes in space as boxes in the picture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mambats.track.detector import turns
from mambats.track.objects import Objects

#: Width and height of a picture, at least: KITTI's differ by some pixels, and detections reach to their rims.
PICTURE = (1222.0, 365.0)
# Metres in front of the camera behind which corners are cut off: what is beside the camera has no picture.
NEAREST = 0.1
_CORNERS = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]


def project(boxes: Tensor, camera: Tensor, size: tuple[float, float]) -> Tensor:
    """Return left, top, right, bottom in pixels of boxes, shape (N, 4); NaN where nothing of one is in the picture.

    Args:
        boxes: Shape (N, 7), x forward, y left, z up from the rectified camera's centre: see `mambats.track.kitti`.
        camera: Projection from x right, y down, z forward in metres to homogeneous pixels, shape (3, 4).
        size: Width and height of the picture, pixels.
    """
    corners = boxes.new_tensor(_CORNERS) * boxes[:, None, 3:6]
    turned = torch.cat([corners[..., :2] @ turns(boxes[:, 6]).mT, corners[..., 2:]], -1) + boxes[:, None, :3]
    x, y, z = turned.unbind(-1)
    seen = torch.stack([-y, -z, x.clamp_min(NEAREST), torch.ones_like(x)], -1) @ camera.to(boxes).mT
    u, v = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
    width, height = size
    edges = [u.amin(-1).clamp(0, width), v.amin(-1).clamp(0, height), u.amax(-1).clamp(0, width)]
    pixels = torch.stack([*edges, v.amax(-1).clamp(0, height)], -1)
    gone = (x <= NEAREST).all(-1) | (pixels[:, 2] - pixels[:, 0] < 1) | (pixels[:, 3] - pixels[:, 1] < 1)
    return torch.where(gone[:, None], torch.nan, pixels)


def in_picture(tracks: Objects, camera: Tensor, size: tuple[float, float], *, own: bool = True) -> Objects:
    """Return tracks with a box in the picture each; those outside of it are left out.

    Args:
        tracks: With the pixels of their detections where they took one.
        camera: As of `project`.
        size: As of `project`.
        own: Whether a detection's own pixels stay; else all are projected.
    """
    drawn = project(tracks.boxes, camera, size)
    if own and tracks.pixels is not None:
        drawn = torch.where(tracks.pixels.isnan(), drawn, tracks.pixels)
    return replace(tracks, pixels=drawn).take(~drawn.isnan().any(-1))


def picture_of(detections: Objects) -> tuple[float, float]:
    """Return width and height of the picture that detections were cut at the rims of."""
    if detections.pixels is None or not len(detections.pixels):
        return PICTURE
    right, bottom = detections.pixels[:, 2:].nan_to_num(0.0).amax(0).tolist()
    return max(PICTURE[0], right), max(PICTURE[1], bottom)
