"""How alike labels and tracks are, of all pairs of a frame, in one go for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mambats.track.metrics.scene import Floats, Whole
from mambats.track.objects import Objects
from mambats.track.overlap import (
    centre_distance_of_pairs,
    giou_3d_of_pairs,
    iou_2d_of_pairs,
    iou_3d_of_pairs,
    iou_bev_of_pairs,
)

Name = Literal["iou_2d", "iou_3d", "iou_bev", "giou_3d", "centre"]
NAMES: tuple[Name, ...] = get_args(Name)
#: Distance of centres on the ground that counts as 0 of `centre`, m: 0.5 is then 2 m, nuScenes' threshold.
REACH = 4.0
# Pairs at a time: some 100 MB of boxes and corners.
_CHUNK = 1 << 18


def similarity_of_pairs(labels: Objects, tracks: Objects, rows: tuple[Whole, Whole], name: Name) -> Floats:
    """Return how alike pairs of boxes are, 0 to 1, shape (P,).

    Args:
        labels: Boxes.
        tracks: Boxes.
        rows: The row of labels and that of tracks of each pair, (P,) and (P,).
        name: `iou_2d` (in the picture), `iou_3d`, `iou_bev` (from above), `giou_3d` (half of 1 + GIoU), `centre`
            (1 - d / 4 m, 0 from there on, d the distance of centres on the ground).

    Raises:
        ValueError: If the name is unknown, or boxes of one side have no pixels or no place in space.
    """
    if name not in NAMES:
        raise ValueError(f"there is no similarity {name!r}: take one of {', '.join(NAMES)}.")
    flat = name == "iou_2d"
    one, other = (_boxes(side, word, flat) for side, word in ((labels, "labels"), (tracks, "tracks")))
    measure = _MEASURES[name]
    near = _meet(one, other, rows) if name in ("iou_3d", "iou_bev") else np.arange(len(rows[0]))
    found = np.zeros(len(rows[0]))
    for begin in range(0, len(near), _CHUNK):
        part = near[begin : begin + _CHUNK]
        found[part] = measure(one[torch.from_numpy(rows[0][part])], other[torch.from_numpy(rows[1][part])]).numpy()
    return found.clip(0.0, 1.0)


def _boxes(side: Objects, word: str, flat: bool) -> Tensor:
    values = side.pixels if flat else side.boxes
    place = "in the picture" if flat else "in space"
    if values is None:
        raise ValueError(f"{word} have no boxes {place}: give them, or take another similarity.")
    bad = torch.nonzero(values.isnan().any(-1))
    if len(bad):
        frame = int(side.frames[bad[0, 0]])
        raise ValueError(
            f"frame {frame} of the {word} has a box without a place {place} ({len(bad)} such boxes): give them, or "
            "take another similarity."
        )
    return values.double().cpu()


def _meet(labels: Tensor, tracks: Tensor, rows: tuple[Whole, Whole]) -> Whole:
    """Return the pairs whose circles on the ground meet: the others share nothing."""
    (x, y, reach), (other_x, other_y, other_reach) = (
        (side[:, 0].numpy(), side[:, 1].numpy(), torch.hypot(side[:, 3], side[:, 4]).numpy() / 2)
        for side in (labels, tracks)
    )
    label, track = rows
    square = (x[label] - other_x[track]) ** 2 + (y[label] - other_y[track]) ** 2
    return np.flatnonzero(square <= (reach[label] + other_reach[track]) ** 2)


def _closeness(a: Tensor, b: Tensor) -> Tensor:
    return 1 - centre_distance_of_pairs(a, b) / REACH


def _half_giou(a: Tensor, b: Tensor) -> Tensor:
    return (1 + giou_3d_of_pairs(a, b)) / 2


_MEASURES: dict[Name, Callable[[Tensor, Tensor], Tensor]] = {
    "iou_2d": iou_2d_of_pairs,
    "iou_3d": iou_3d_of_pairs,
    "iou_bev": iou_bev_of_pairs,
    "giou_3d": _half_giou,
    "centre": _closeness,
}
