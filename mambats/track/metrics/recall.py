"""Scores over recall: tracks of low scores are left out step by step, and every step is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mambats.track.metrics.assign import best_of_frame, sure_pairs
from mambats.track.metrics.scene import Flags, Floats, Scene, Side, Whole

# More than any sum of similarities in a frame: as many matches as can be, then the most alike.
_MATCH = 1000.0


def joined(scenes: Sequence[Scene]) -> Scene:
    """Return sequences as one, frame behind frame, no body in two of them.

    Raises:
        ValueError: If there is none.
    """
    if not scenes:
        raise ValueError("there is no sequence to score: give one at least.")
    labels = _joined([scene.labels for scene in scenes])
    tracks = _joined([scene.tracks for scene in scenes])
    return Scene(labels, tracks, np.concatenate([scene.similarity for scene in scenes]), scenes[0].seconds)


def _joined(sides: Sequence[Side]) -> Side:
    boxes = np.cumsum([0, *(len(side) for side in sides)])
    bodies = np.cumsum([0, *(len(side.spans) for side in sides)])
    return Side(
        np.concatenate([[0], *(side.splits[1:] + begin for side, begin in zip(sides, boxes, strict=False))]),
        np.concatenate([side.bodies + begin for side, begin in zip(sides, bodies, strict=False)]),
        np.concatenate([side.score for side in sides]),
        np.concatenate([side.excused for side in sides]),
    )


def mean_scores(tracks: Side, score: Floats) -> Floats:
    """Return of every box the mean score of its body, summed up in order of frames, shape (N,)."""
    return (np.bincount(tracks.bodies, score) / tracks.spans)[tracks.bodies] if len(tracks) else score


def most_pairs(scene: Scene, candidate: Flags) -> Whole:
    """Return the matched pairs in order of frames: of all candidates as many as can be, then the most alike."""
    sure, crowded = sure_pairs(scene, candidate)
    score = np.where(candidate, _MATCH + scene.similarity, 0.0)
    found = [best_of_frame(scene, frame, score[scene.offsets[frame] : scene.offsets[frame + 1]]) for frame in crowded]
    return np.sort(np.concatenate([sure, *found]))
