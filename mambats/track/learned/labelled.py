"""Which label is behind each detection, and paths of detections: what noise and scores are learned from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.track.objects import Objects
from mambats.track.overlap import iou_3d

#: Labels that are neither right nor wrong for a class: KITTI's neighbours of it.
NEUTRAL = {"Car": ("Van",), "Pedestrian": ("Person_sitting", "Person")}
TRUE, CLUTTER, UNKNOWN = 1, 0, -1
OVERLAP = 0.1  # in space, of a detection and its label
REACH, SILENCE = 2.0, 3  # metres, and frames, that a detection without a label may be away from its chain's last


class Labelled(NamedTuple):
    """Detections of one class and sequence beside its labels.

    Args:
        detections: Of one class.
        truth: `TRUE` where a label of the class is behind it, `CLUTTER` where none, `UNKNOWN` where nobody can say (a
            region not labelled, a neighbouring class), shape (N,) int64.
        path: Number of the path that each detection is of: one a label, and for the others one a chain of detections
            near to each other; shape (N,) int64.
    """

    detections: Objects
    truth: Tensor
    path: Tensor


def labelled(detections: Objects, truth: Objects, kind: str) -> Labelled:
    """Join the detections of a class with labels.

    Args:
        detections: With scores; other classes are left out.
        truth: Labels of all classes with identities, `DontCare` among them, of the same frames or fewer.
        kind: The class.

    Raises:
        ValueError: If detections have no scores, or labels no identities.
    """
    found = detections.of_class(kind) if kind in detections.classes else detections.take(detections.labels < 0)
    if found.score is None or truth.identity is None:
        raise ValueError("detections have no scores or labels no identities: both are needed to learn from them.")
    names = np.array(truth.classes)[truth.labels.numpy()]
    said, path = torch.full((len(found.boxes),), CLUTTER), torch.full((len(found.boxes),), -1)
    near = np.isin(names, [kind, *NEUTRAL.get(kind, ())])
    for f in range(min(len(found), len(truth))):
        mine = np.arange(int(found.splits[f]), int(found.splits[f + 1]))
        rows = np.arange(int(truth.splits[f]), int(truth.splits[f + 1]))
        said[mine[_hidden(found, truth, mine, rows[names[rows] == "DontCare"])]] = UNKNOWN
        rows = rows[near[rows]]
        for i, j in _pairs(iou_3d(found.boxes[mine], truth.boxes[rows]).numpy()):
            own = names[rows[j]] == kind
            said[mine[i]] = TRUE if own else UNKNOWN
            path[mine[i]] = int(truth.identity[rows[j]])
    return Labelled(found, said, linked(found, path))


def _pairs(overlap: np.ndarray) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(-overlap), strict=True) if overlap[i, j] > OVERLAP]


def _hidden(found: Objects, truth: Objects, mine: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Say which detections lie by half or more in a region that nobody labelled."""
    if found.pixels is None or truth.pixels is None or not len(ignored):
        return np.zeros(len(mine), np.bool_)
    a, b = found.pixels[mine][:, None], truth.pixels[ignored][None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return (shared / (a[..., 2:] - a[..., :2]).prod(-1) > 0.5).any(-1).numpy()


def linked(found: Objects, path: Tensor) -> Tensor:
    """Return paths (N,) with numbers for the detections that have none (-1): each goes on the nearest open chain.

    Args:
        found: Detections.
        path: Of each, or -1, shape (N,).
    """
    made, place = path.tolist(), found.boxes[:, :2].numpy()
    next_ = max(made, default=-1) + 1
    open_: dict[int, tuple[int, int]] = {}  # path: frame and row of its last detection
    splits = found.splits.tolist()
    for f in range(len(found)):
        rows = [r for r in range(splits[f], splits[f + 1]) if made[r] < 0]
        open_ = {one: (at, row) for one, (at, row) in open_.items() if f - at <= SILENCE}
        ends = [(one, row) for one, (_, row) in open_.items()]
        apart = np.linalg.norm(place[rows][:, None] - place[[row for _, row in ends]][None], axis=-1)
        while apart.size and apart.min() <= REACH:
            i, j = np.unravel_index(int(apart.argmin()), apart.shape)
            made[rows[i]] = ends[j][0]
            open_[ends[j][0]] = f, rows[i]
            apart[i], apart[:, j] = np.inf, np.inf
        for r in rows:
            if made[r] < 0:
                made[r], next_ = next_, next_ + 1
                open_[made[r]] = f, r
    return torch.tensor(made, dtype=torch.int64)
