"""Boxes in space as boxes in the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.detector import turns
from mambats.track.objects import Objects
from mambats.track.silhouette import Silhouette

#: Width and height of a picture, at least: KITTI's differ by some pixels, and detections reach to their rims.
PICTURE = (1222.0, 365.0)
# Metres in front of the camera behind which corners are cut off: what is beside the camera has no picture.
NEAREST = 0.1
CUBOID = Silhouette()
_CORNERS = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]


class Picture(NamedTuple):
    """What a camera draws of boxes in space.

    Args:
        camera: Projection from x right, y down, z forward in metres to homogeneous pixels, shape (3, 4).
        size: Width and height, pixels.
        silhouette: Of the bodies of a class; their cuboids' boxes by default.
    """

    camera: Tensor
    size: tuple[float, float] = PICTURE
    silhouette: Silhouette = CUBOID

    @staticmethod
    def of(detections: Objects, camera: Tensor, silhouette: Silhouette | None = None) -> Picture:
        """Return the picture that detections were cut at the rims of."""
        silhouette = silhouette or CUBOID
        if detections.pixels is None or not len(detections.pixels):
            return Picture(camera, PICTURE, silhouette)
        right, bottom = detections.pixels[:, 2:].nan_to_num(0.0).amax(0).tolist()
        return Picture(camera, (max(PICTURE[0], right), max(PICTURE[1], bottom)), silhouette)


def project(boxes: Tensor, picture: Picture) -> Tensor:
    """Return left, top, right, bottom in pixels of boxes, shape (N, 4); NaN where nothing of one is in the picture.

    A body that reaches behind the camera is drawn as its cuboid: its silhouette has no middle.

    Args:
        boxes: Shape (N, 7), x forward, y left, z up from the rectified camera's centre: see `mambats.track.kitti`.
        picture: That they are drawn in.
    """
    whole, ahead = _edges(boxes, picture.camera)
    seen = torch.where(ahead.all(-1, keepdim=True), picture.silhouette(whole), whole)
    width, height = picture.size
    pixels = torch.minimum(seen.clamp_min(0.0), seen.new_tensor([width, height, width, height]))
    gone = ~ahead.any(-1) | (pixels[:, 2] - pixels[:, 0] < 1) | (pixels[:, 3] - pixels[:, 1] < 1)
    return torch.where(gone[:, None], torch.nan, pixels)


def _edges(boxes: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edges of cuboids (N, 4), not cut at the picture's rims, and which corners lie ahead (N, 8)."""
    corners = boxes.new_tensor(_CORNERS) * boxes[:, None, 3:6]
    turned = torch.cat([corners[..., :2] @ turns(boxes[:, 6]).mT, corners[..., 2:]], -1) + boxes[:, None, :3]
    x, y, z = turned.unbind(-1)
    seen = torch.stack([-y, -z, x.clamp_min(NEAREST), torch.ones_like(x)], -1) @ camera.to(boxes).mT
    u, v = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
    return torch.stack([u.amin(-1), v.amin(-1), u.amax(-1), v.amax(-1)], -1), x > NEAREST


def outlined(objects: Objects, picture: Picture) -> Objects:
    """Return detections with the silhouettes of their boxes in space as pixels, where these are in the picture.

    A detector in space draws the box around the cuboid. Where bodies look as wide as that, its own pixels stay.
    """
    if picture.silhouette.plain or not len(objects.boxes):
        return objects
    drawn = project(objects.boxes, picture)
    own = torch.full_like(drawn, torch.nan) if objects.pixels is None else objects.pixels.to(drawn)
    return replace(objects, pixels=torch.where(drawn.isnan(), own, drawn))


def in_picture(tracks: Objects, picture: Picture, *, own: bool = True) -> Objects:
    """Return tracks with a box in the picture each; those outside of it are left out.

    Args:
        tracks: With the pixels of their detections where they took one.
        picture: That they are drawn in.
        own: Whether a detection's own pixels stay; else all are projected.
    """
    drawn = project(tracks.boxes, picture)
    if own and tracks.pixels is not None:
        drawn = torch.where(tracks.pixels.isnan(), drawn, tracks.pixels)
    return replace(tracks, pixels=drawn).take(~drawn.isnan().any(-1))
