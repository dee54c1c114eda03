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
from mambats.track.picture_claim import PictureClaims
from mambats.track.picture_heir import PictureHeir
from mambats.track.picture_updater import PictureUpdater


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
    place in space: it is left out unless `alone` says what it is worth to the tracks there are, and may begin one.

    Args:
        own: Added a unit of the score in space: beside a camera it counts for less.
        seen: Added where the camera has a box over it.
        slope: Added there a unit of the camera's score.
        unseen: Added where it has none.
        least: Overlap of both boxes in the picture that makes a pair; the most alike come first.
        alone: Moves tracks by boxes that only the camera saw, see `mambats.track.run_pictured`.
        heir: Says there which new track is an old one's.
        claims: Says there, moment by moment, whose a box is, by the tracks there are. All of the camera's boxes then
            stand behind the detections, which come as if it had seen none of them.
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
        claims: PictureClaims | None = None,
    ) -> None:
        self.own, self.seen, self.slope, self.unseen, self.least = own, seen, slope, unseen, least
        self.alone, self.heir, self.claims = alone, heir, claims

    def __call__(self, detections: Objects, camera: Objects) -> Seconded:
        """Return what both sensors say.

        Args:
            detections: With pixels and scores.
            camera: Of the same class and frames, with pixels and scores.

        Raises:
            ValueError: If pixels or scores are missing, or frames differ.
        """
        own, seen = _looks(detections), _looks(camera)
        if not torch.equal(detections.stamps, camera.stamps):
            raise ValueError(
                f"there are {len(detections)} frames of detections, {len(camera)} of the camera: needed the same."
            )
        unseen = self.own * own.score + self.unseen
        if not len(seen.score):
            return Seconded(detections, unseen)
        if self.claims is not None:
            return _behind(detections, unseen, camera)
        other = partners(own.pixels, seen.pixels, (detections.splits, camera.splits), self.least)
        found, taken = other >= 0, other.clamp_min(0)
        added = torch.where(found, unseen + self.worth(seen.score[taken]), unseen)
        seconded = replace(detections, pixels=torch.where(found[:, None], seen.pixels[taken], own.pixels))
        if self.alone is None:
            return Seconded(seconded, added)
        free = torch.ones(len(seen.score), dtype=torch.bool).index_fill(0, other[found], False)
        return _behind(seconded, added, camera.take(free))

    @property
    def in_time(self) -> bool:
        """Whether it speaks of tracks as they are followed, by `mambats.track.run_pictured`."""
        return not (self.alone is None and self.heir is None and self.claims is None)

    def worth(self, score: Tensor) -> Tensor:
        """Return what boxes of these scores (P,) add to log odds beyond what none does, shape (P,)."""
        return self.seen + self.slope * score - self.unseen


class _Looks(NamedTuple):
    pixels: Tensor
    score: Tensor


def _looks(objects: Objects) -> _Looks:
    if objects.pixels is None or objects.score is None:
        raise ValueError("detections or the camera's have no pixels or no scores: both are needed to join them.")
    return _Looks(objects.pixels, objects.score)


def _behind(detections: Objects, added: Tensor, camera: Objects) -> Seconded:
    """Put boxes that have no place in space behind the detections of each frame."""
    own, seen = _looks(detections), _looks(camera)
    order = torch.argsort(torch.cat([detections.frames, camera.frames]), stable=True)
    none = detections.boxes.new_full((len(camera.boxes), 7), torch.nan)
    kind = detections.classes.index(camera.classes[int(camera.labels[0])]) if len(none) else 0
    made = Objects(
        stamps=detections.stamps,
        splits=detections.splits + camera.splits,
        boxes=torch.cat([detections.boxes, none])[order],
        labels=torch.cat([detections.labels, detections.labels.new_full((len(none),), kind)])[order],
        classes=detections.classes,
        score=torch.cat([own.score, seen.score])[order],
        pixels=torch.cat([own.pixels, seen.pixels])[order],
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
