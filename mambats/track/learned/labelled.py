"""Which label is behind each detection, and paths of detections: what noise and scores are learned from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.track.behind import behind
from mambats.track.objects import Objects

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
    said, label = behind(found, truth, kind)
    path = torch.where(label >= 0, truth.identity[label.clamp_min(0)], -1) if len(truth.identity) else label
    return Labelled(found, said, linked(found, path))


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
