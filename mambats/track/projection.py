"""Boxes in space as boxes in the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.detector import turns

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
