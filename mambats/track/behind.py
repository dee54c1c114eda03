"""Which label is behind each detection."""

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


class Behind(NamedTuple):
    """What is behind the N detections of a class and sequence.

    Args:
        truth: `TRUE` where a label of the class is, `CLUTTER` where none, `UNKNOWN` where nobody can say (a region not
            labelled, a neighbouring class), shape (N,) int64.
        label: Row of the label of the class or of a neighbouring one, -1 where there is none, shape (N,) int64.
    """

    truth: Tensor
    label: Tensor


def behind(found: Objects, labels: Objects, kind: str) -> Behind:
    """Say which label is behind each detection of a class, by overlap in space, frame by frame.

    Args:
        found: Detections of the class alone.
        labels: Of all classes, `DontCare` among them, of the same frames or fewer.
        kind: The class.
    """
    names = np.array(labels.classes)[labels.labels.numpy()]
    said, label = torch.full((len(found.boxes),), CLUTTER), torch.full((len(found.boxes),), -1)
    near = np.isin(names, [kind, *NEUTRAL.get(kind, ())])
    for f in range(min(len(found), len(labels))):
        mine = np.arange(int(found.splits[f]), int(found.splits[f + 1]))
        rows = np.arange(int(labels.splits[f]), int(labels.splits[f + 1]))
        said[mine[unlabelled(found, labels, mine, rows[names[rows] == "DontCare"])]] = UNKNOWN
        rows = rows[near[rows]]
        for i, j in _pairs(iou_3d(found.boxes[mine], labels.boxes[rows]).numpy()):
            said[mine[i]] = TRUE if names[rows[j]] == kind else UNKNOWN
            label[mine[i]] = int(rows[j])
    return Behind(said, label)


def unlabelled(found: Objects, labels: Objects, mine: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Say which rows `mine` lie in the picture by half or more in a region of the labels' rows `ignored`."""
    if found.pixels is None or labels.pixels is None or not len(ignored):
        return np.zeros(len(mine), np.bool_)
    a, b = found.pixels[mine][:, None], labels.pixels[ignored][None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return (shared / (a[..., 2:] - a[..., :2]).prod(-1) > 0.5).any(-1).numpy()


def _pairs(overlap: np.ndarray) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(-overlap), strict=True) if overlap[i, j] > OVERLAP]
