"""What a camera's detections say of those in space: their scores, and their boxes in the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.track.assignment import Greedy
from mambats.track.objects import Objects
from mambats.track.overlap import iou_2d
from mambats.track.picture_box import PictureHeir, PictureUpdater


class Seconded(NamedTuple):
    """Detections in space and what a second sensor says of each.

    Args:
        detections: With the camera's boxes in the picture where it has one; behind those of a frame stand boxes that
            only the camera saw, without a place in space, where they are asked for.
        added: To the log odds that each is true, shape (N,); 0 of those that only the camera saw.
    """

    detections: Objects
    added: Tensor


class CameraEvidence:
    """Raises the log odds of a detection that the camera sees too, lowers those of one it does not.

    Numbers are the differences of two logistic regressions on labelled sequences, with the camera and without
    (recipes/track_fit.py). A detection takes over the camera's box in the picture. What the camera alone sees has no
    place in space: it begins no track, and is left out unless `alone` says what it is worth to those there are.

    Args:
        own: Added a unit of the score in space: beside a camera it counts for less.
        seen: Added where the camera has a box over it.
        slope: Added there a unit of the camera's score.
        unseen: Added where it has none.
        least: Overlap of both boxes in the picture that makes a pair; the most alike come first.
        alone: Moves tracks by boxes that only the camera saw, see `mambats.track.run_pictured`.
        heir: Says there which new track is an old one's.
    """

    def __init__(
        self,
        own: float,
        seen: float,
        slope: float,
        unseen: float,
        least: float = 0.3,
        alone: PictureUpdater | None = None,
        heir: PictureHeir | None = None,
    ) -> None:
        self.own, self.seen, self.slope, self.unseen, self.least = own, seen, slope, unseen, least
        self.alone, self.heir = alone, heir

    def __call__(self, detections: Objects, camera: Objects) -> Seconded:
        """Return what both sensors say.

        Args:
            detections: With pixels and scores.
            camera: Of the same class and frames, with pixels and scores.

        Raises:
            ValueError: If pixels or scores are missing, or frames differ.
        """
        if detections.pixels is None or detections.score is None or camera.pixels is None or camera.score is None:
            raise ValueError("detections or the camera's have no pixels or no scores: both are needed to join them.")
        if not torch.equal(detections.stamps, camera.stamps):
            raise ValueError(
                f"there are {len(detections)} frames of detections, {len(camera)} of the camera: needed the same."
            )
        if not len(camera.score):
            return Seconded(detections, self.own * detections.score + self.unseen)
        other = partners(detections.pixels, camera.pixels, (detections.splits, camera.splits), self.least)
        found, taken = other >= 0, other.clamp_min(0)
        added = torch.where(found, self.seen + self.slope * camera.score[taken], self.unseen)
        pixels = torch.where(found[:, None], camera.pixels[taken], detections.pixels)
        added, seconded = self.own * detections.score + added, replace(detections, pixels=pixels)
        if self.alone is None:
            return Seconded(seconded, added)
        # Behind the detections of each frame stand the boxes that nothing in space belongs to.
        free = torch.ones(len(camera.score), dtype=torch.bool).index_fill(0, other[found], False)
        order = torch.argsort(torch.cat([detections.frames, camera.frames[free]]), stable=True)
        none, splits = pixels.new_full((int(free.sum()), 7), torch.nan), camera.take(free).splits
        own = detections.classes.index(camera.classes[int(camera.labels[0])])
        made = Objects(
            stamps=detections.stamps,
            splits=detections.splits + splits,
            boxes=torch.cat([detections.boxes, none.to(detections.boxes)])[order],
            labels=torch.cat([detections.labels, detections.labels.new_full((len(none),), own)])[order],
            classes=detections.classes,
            score=torch.cat([detections.score, camera.score[free]])[order],
            pixels=torch.cat([pixels, camera.pixels[free]])[order],
        )
        return Seconded(made, torch.cat([added, added.new_zeros(len(none))])[order])


def partners(pixels: Tensor, others: Tensor, splits: tuple[Tensor, Tensor], least: float) -> Tensor:
    """Return for each box in the picture the other detector's, -1 where it has none, shape (N,) int64.

    Args:
        pixels: Shape (N, 4).
        others: Shape (M, 4).
        splits: Of both by frame.
        least: Overlap that makes a pair.
    """
    # The most alike first: as many pairs as can be gave a car the box of the one that it hides, at half the overlap.
    found, assignment = torch.full((len(pixels),), -1), Greedy()
    here, there = (one.tolist() for one in splits)
    for f in range(len(here) - 1):
        overlap = iou_2d(pixels[here[f] : here[f + 1]], others[there[f] : there[f + 1]]).numpy()
        pairs = np.nonzero(overlap >= least)
        if len(pairs[0]):
            chosen = assignment((pairs[0], pairs[1]), -overlap[pairs])
            found[pairs[0][chosen] + here[f]] = torch.from_numpy(pairs[1][chosen]) + there[f]
    return found
