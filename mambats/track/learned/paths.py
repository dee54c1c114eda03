"""Paths of detections laid side by side, padded: what a noise model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.behind import UNKNOWN
from mambats.track.learned.labelled import Labelled


class Paths(NamedTuple):
    """P pieces of paths over T frames; each begins with a detection.

    Args:
        boxes: Shape (P, T, 7) float64; NaN where nothing was detected.
        score: The detector's, shape (P, T); 0 there.
        truth: `TRUE`, `CLUTTER` or `UNKNOWN`, shape (P, T) int64.
        kind: Class, shape (P,) int64.
    """

    boxes: Tensor
    score: Tensor
    truth: Tensor
    kind: Tensor

    @property
    def seen(self) -> Tensor:
        """Where there is a detection, shape (P, T) bool."""
        return ~self.boxes[..., 0].isnan()

    def take(self, rows: Tensor) -> Paths:
        """Return some of them, cut behind the last detection of any."""
        some = [part[rows] for part in self[:3]]
        last = (~some[0][..., 0].isnan()).any(0).nonzero()
        length = int(last.max()) + 1 if len(last) else 1
        return Paths(*(part[:, :length] for part in some), kind=self.kind[rows])

    def lengths(self) -> Tensor:
        """Return the frames up to each one's last detection, shape (P,) int64."""
        frame = torch.arange(1, self.boxes.shape[1] + 1)
        return (self.seen * frame).amax(1)


def paths_of(sequences: Sequence[tuple[int, Labelled]], length: int) -> Paths:
    """Cut the paths of sequences into pieces.

    Args:
        sequences: Class and detections of each.
        length: Frames of a piece, at least 2; a detection behind them begins the next piece.

    Raises:
        ValueError: If there is no detection, or `length` is below 2.
    """
    if length < 2:
        raise ValueError(f"length is {length}: needed 2 frames or more.")
    pieces = [(kind, one, rows) for kind, one in sequences for rows in _pieces(one, length)]
    if not pieces:
        raise ValueError("there is no detection of any class: give sequences that have some.")
    boxes = torch.full((len(pieces), length, 7), torch.nan, dtype=torch.float64)
    score, truth = torch.zeros(boxes.shape[:2], dtype=torch.float64), torch.full(boxes.shape[:2], UNKNOWN)
    for p, (_, one, rows) in enumerate(pieces):
        frame, found = one.detections.frames[rows], one.detections
        at = frame - frame[0]
        boxes[p, at], truth[p, at] = found.boxes[rows].double(), one.truth[rows]
        if found.score is not None:
            score[p, at] = found.score[rows].double()
    return Paths(boxes, score, truth, torch.tensor([kind for kind, _, _ in pieces]))


def _pieces(one: Labelled, length: int) -> list[Tensor]:
    frame, made = one.detections.frames, list[Tensor]()
    order = torch.argsort(one.path * (len(one.detections) + 1) + frame)
    _, counts = one.path[order].unique_consecutive(return_counts=True)
    for rows in order.split(counts.tolist()):
        while len(rows):
            here = frame[rows] - frame[rows[0]] < length
            made.append(rows[here])
            rows = rows[~here]
    return made
