"""Rules that say which boxes count: from labels and tracks of one sequence to the scene that metrics score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mambats.track.metrics.scene import Scene, Side, Whole, pair_rows
from mambats.track.metrics.similarity import Name, similarity_of_pairs
from mambats.track.objects import Objects

_NS = 1e-9


class Rule(Protocol):
    """Says which labels and tracks count."""

    def __call__(self, labels: Objects, tracks: Objects) -> Scene:
        """Return what is to be scored of one sequence."""
        ...


@dataclass(frozen=True)
class PlainRule:
    """All labels and all tracks of one class count.

    Args:
        name: Class, as both sides call it.
        similarity: See `similarity_of_pairs`.
    """

    name: str
    similarity: Name = "iou_3d"

    def __call__(self, labels: Objects, tracks: Objects) -> Scene:
        """Return the scene of one sequence; errors as `scene_of`."""
        return scene_of(labels.of_class(self.name), tracks.of_class(self.name), self.similarity)


def scene_of(labels: Objects, tracks: Objects, similarity: Name) -> Scene:
    """Return labels and tracks with the similarity of all pairs.

    Args:
        labels: Of one class, with identities.
        tracks: Of the same frames, with identities.
        similarity: See `similarity_of_pairs`.

    Raises:
        ValueError: If there is no frame, frames differ, identities are missing or stand twice in a frame, or boxes lack
            what the similarity compares.
    """
    check_frames(labels, tracks)
    sides = _side(labels, "labels"), _side(tracks, "tracks")
    rows = pair_rows(sides[0].splits, sides[1].splits)
    alike = similarity_of_pairs(labels, tracks, rows, similarity)
    seconds = float(labels.stamps.diff().double().mean()) * _NS if len(labels) > 1 else 0.0
    return Scene(*sides, alike, seconds)


def check_frames(labels: Objects, tracks: Objects) -> None:
    """Refuse a sequence without frames, and tracks of other frames than the labels'.

    Raises:
        ValueError: If so.
    """
    if not len(labels):
        raise ValueError("the sequence has no frames: there is nothing to score.")
    if len(labels) != len(tracks):
        raise ValueError(f"labels have {len(labels)} frames, tracks {len(tracks)}: score the same frames of both.")
    apart = (labels.stamps.cpu() != tracks.stamps.cpu()).nonzero()
    if len(apart):
        frame = int(apart[0])
        raise ValueError(
            f"frame {frame} is at {int(labels.stamps[frame])} ns in the labels, at {int(tracks.stamps[frame])} ns in "
            "the tracks: score the same frames of both."
        )


def _side(objects: Objects, word: str) -> Side:
    if objects.identity is None:
        raise ValueError(f"{word} have no identities: detections cannot be scored as tracks.")
    splits, identity = objects.splits.cpu().numpy(), objects.identity.cpu().numpy()
    score = np.zeros(len(identity)) if objects.score is None else objects.score.double().cpu().numpy()
    side = Side(splits, identity, score, np.zeros(len(identity), dtype=np.bool_))
    _check_once(side, word)
    return side


def _check_once(side: Side, word: str) -> None:
    order: Whole = np.lexsort((side.identity, side.frames))
    frames, identity = side.frames[order], side.identity[order]
    twice = np.flatnonzero((frames[1:] == frames[:-1]) & (identity[1:] == identity[:-1]))
    if twice.size:
        raise ValueError(
            f"frame {frames[twice[0]]} of the {word} has identity {identity[twice[0]]} twice ({twice.size} such boxes):"
            " a body is in one place."
        )
