"""The noun of tracking: boxes of one sequence, frame behind frame, be they labels, detections or tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

#: Columns of a box in space: centre and size in metres, yaw about the vertical axis in rad from x towards y.
BOX = ("x", "y", "z", "length", "width", "height", "yaw")
_FRAMES = ("stamps", "splits", "classes")


@dataclass(frozen=True)
class Objects:
    """Boxes of F frames, N in all; those of frame f are the rows `splits[f]` to `splits[f + 1]`.

    Axes are right-handed with z up (x forward, y left for a car); the centre is that of the box, not of its floor.

    Args:
        stamps: Of the frames, shape (F,) int64 nanoseconds, rising.
        splits: Shape (F + 1,) int64.
        boxes: Shape (N, 7) float64, see `BOX`; rows of NaN where there is no box in space.
        labels: Index into `classes`, shape (N,) int64.
        classes: Names.
        score: How sure a detector or tracker is, shape (N,), any scale (logits are no probabilities); None: no scores.
        identity: Shape (N,) int64, one a body; None for detections.
        pixels: Boxes in the picture, left, top, right, bottom, shape (N, 4) float64; NaN where there is none.
        truncated: Share outside of the picture, shape (N,).
        occluded: 0 visible, 1 partly, 2 largely, 3 unknown, shape (N,) int64.
        velocity: Shape (N, 3), m/s; of tracks.
        covariance: Of the box's seven numbers, shape (N, 7, 7); of tracks.

    Raises:
        ValueError: If shapes do not fit, frames are not in order, or a size is negative.
    """

    stamps: Tensor
    splits: Tensor
    boxes: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    score: Tensor | None = None
    identity: Tensor | None = None
    pixels: Tensor | None = None
    truncated: Tensor | None = None
    occluded: Tensor | None = None
    velocity: Tensor | None = None
    covariance: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes and order."""
        rows, frames = len(self.boxes), len(self.stamps)
        shapes = {"boxes": (rows, 7), "labels": (rows,), "splits": (frames + 1,)}
        shapes |= {"score": (rows,), "identity": (rows,), "truncated": (rows,), "occluded": (rows,)}
        shapes |= {"pixels": (rows, 4), "velocity": (rows, 3), "covariance": (rows, 7, 7)}
        for name, shape in shapes.items():
            one = getattr(self, name)
            if one is not None and tuple(one.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(one.shape)}: needed {shape}, with {rows} boxes.")
        if bool((self.stamps.diff() <= 0).any()):
            raise ValueError("stamps do not rise from frame to frame: sort the frames, and give each one once.")
        if int(self.splits[0]) != 0 or int(self.splits[-1]) != rows or bool((self.splits.diff() < 0).any()):
            raise ValueError(
                f"splits run from {int(self.splits[0])} to {int(self.splits[-1])}: needed 0 to {rows}, rising."
            )
        if bool((self.boxes[:, 3:6] < 0).any()):
            raise ValueError("a box has a negative length, width or height.")
        if rows and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"labels are {int(self.labels.min())} to {int(self.labels.max())}: classes are {self.classes}."
            )

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.stamps)

    @property
    def frames(self) -> Tensor:
        """The frame of every box, shape (N,) int64."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.splits.device), self.splits.diff())

    def take(self, kept: Tensor) -> Self:
        """Return the boxes where `kept` (N,) bool is True; all frames stay."""
        counts = torch.zeros_like(self.splits)
        counts[1:] = torch.bincount(self.frames[kept], minlength=len(self)).cumsum(0)
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FRAMES}
        return replace(self, splits=counts, **{k: v if v is None else v[kept] for k, v in parts.items()})

    def of_class(self, *names: str) -> Self:
        """Return the boxes of some classes.

        Raises:
            ValueError: If a name is no class.
        """
        if unknown := sorted(set(names) - set(self.classes)):
            raise ValueError(f"unknown classes {unknown}: there are {list(self.classes)}.")
        wanted = torch.tensor([self.classes.index(name) for name in names], device=self.labels.device)
        return self.take(torch.isin(self.labels, wanted))

    def between(self, begin: int, end: int) -> Self:
        """Return frames `begin` to `end` (not included), their boxes with them."""
        rows = slice(int(self.splits[begin]), int(self.splits[end]))
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FRAMES}
        cut = {k: v if v is None else v[rows] for k, v in parts.items()}
        splits = self.splits[begin : end + 1] - self.splits[begin]
        return replace(self, stamps=self.stamps[begin:end], splits=splits, **cut)


def splits_of(counts: Sequence[int]) -> Tensor:
    """Return splits (F + 1,) from the number of boxes of each frame."""
    return torch.tensor([0, *counts], dtype=torch.int64).cumsum(0)
