"""KITTI's tables of labels, results and detections as objects of a sequence, with z up, and back."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mambats.formats.kitti.boxes import PIXELS, SOLID, UNITS
from mambats.series import RaggedStream
from mambats.track.objects import Objects

_KEPT = ("track", "class", "truncated", "occluded", "alpha", *PIXELS, *SOLID, "score")
_UNKNOWN = -1.0  # the benchmark's word for no box in the picture, in all four columns, and for no size


def from_kitti(stream: RaggedStream) -> Objects:
    """Return boxes of camera 2's axes as objects: x forward, y left, z up, the middle of the box, yaw about z.

    Nothing but the axes is turned, about the camera's own centre: overlaps are KITTI's, and no calibration is needed.
    A box without a place in space (DontCare) is a row of NaN there; one whose pixels are all -1, in the picture.

    Args:
        stream: As `mambats.formats.kitti.tracking` reads labels, results and detections, in space or in the picture.

    Raises:
        ValueError: If there is no class.
    """
    column = {name: torch.from_numpy(np.ascontiguousarray(stream.values[:, at])).double()
              for at, name in enumerate(stream.channels)}  # fmt: skip
    if "class" not in column:
        raise ValueError(f"boxes have no class, their channels are {', '.join(stream.channels)}.")
    return Objects(
        stamps=torch.from_numpy(stream.stamps.copy()),
        splits=torch.from_numpy(stream.splits.astype(np.int64)),
        boxes=_boxes(column, len(stream.values)),
        labels=column["class"].long(),
        classes=tuple(stream.labels["class"]),
        score=column.get("score"),
        identity=_whole(column.get("track")),
        pixels=_pixels(column),
        truncated=column.get("truncated"),
        occluded=_whole(column.get("occluded")),
    )


def to_kitti(objects: Objects, frame: str = "camera_rect") -> RaggedStream:
    """Return objects as KITTI's columns, what `mambats.formats.kitti.results.write_tracks` takes.

    The inverse of `from_kitti`; alpha, the angle a box is seen under, is worked out.

    Args:
        objects: In the axes of `from_kitti`; with identities for results.
        frame: Frame id.

    Raises:
        ValueError: If a box has no place in space.
    """
    if bool(objects.boxes.isnan().any()):
        raise ValueError("a box has no place in space: KITTI's results need one of every track.")
    x, y, z, length, width, height, yaw = objects.boxes.cpu().double().unbind(-1)
    turn = _wrapped(-yaw - math.pi / 2)
    column: dict[str, Tensor | None] = {
        "track": objects.identity, "class": objects.labels, "truncated": objects.truncated,
        "occluded": objects.occluded, "alpha": _wrapped(turn - torch.atan2(-y, x)),
        "h": height, "w": width, "l": length, "x": -y, "y": -z + height / 2, "z": x, "yaw": turn,
        "score": objects.score,
    }  # fmt: skip
    if objects.pixels is not None:
        column |= dict(zip(PIXELS, objects.pixels.nan_to_num(nan=_UNKNOWN).unbind(-1), strict=True))
    there = [(name, one) for name in _KEPT if (one := column.get(name)) is not None]
    values = np.column_stack([one.cpu().double().numpy() for _, one in there])
    names = tuple(name for name, _ in there)
    return RaggedStream(
        objects.stamps.cpu().numpy(), objects.splits.cpu().numpy(), values.reshape(-1, len(names)), names,
        tuple(UNITS.get(name, "") for name in names), frame, {"class": objects.classes},
    )  # fmt: skip


def _boxes(column: dict[str, Tensor], rows: int) -> Tensor:
    if any(name not in column for name in SOLID):
        return torch.full((rows, 7), torch.nan, dtype=torch.float64)
    height, width, length, x, y, z, yaw = (column[name] for name in SOLID)
    # rotation_y turns the camera's x axis about y, which points down: yaw 0 looks right, which is -y of ours.
    boxes = torch.stack([z, -x, height / 2 - y, length, width, height, _wrapped(-yaw - math.pi / 2)], -1)
    nowhere = (boxes[:, 3:6] < 0).any(-1)
    return torch.where(nowhere[:, None], torch.nan, boxes)


def _pixels(column: dict[str, Tensor]) -> Tensor | None:
    if any(name not in column for name in PIXELS):
        return None
    pixels = torch.stack([column[name] for name in PIXELS], -1)
    return torch.where((pixels == _UNKNOWN).all(-1, keepdim=True), torch.nan, pixels)


def _whole(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.long()


def _wrapped(angle: Tensor) -> Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
