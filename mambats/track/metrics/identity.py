"""IDF1: one partner for every body over the whole sequence, and how many boxes that explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mambats.track.metrics.scene import Scene
from mambats.track.metrics.sums import Sums


@dataclass(frozen=True)
class IdentityCounts(Sums):
    """What IDF1 is made of; sums over sequences.

    Args:
        found: Boxes of partners that are matched, IDTP.
        missed: Labels left, IDFN.
        false: Tracks left, IDFP.
    """

    found: float
    missed: float
    false: float


def identity_counts(scene: Scene, threshold: float = 0.5) -> IdentityCounts:
    """Return the counts of one sequence: partners are those that make the most boxes match.

    Args:
        scene: One class of one sequence.
        threshold: Least similarity of a match.

    Source: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, 2016.
    """
    from scipy.optimize import linear_sum_assignment

    shape = len(scene.labels.spans), len(scene.tracks.spans)
    label, track = scene.bodies
    kept = scene.similarity >= threshold
    flat = label[kept] * shape[1] + track[kept]
    matches = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    found = int(matches[linear_sum_assignment(matches, maximize=True)].sum())
    return IdentityCounts(found, len(scene.labels) - found, len(scene.tracks) - found)


def identity_scores(counts: IdentityCounts) -> dict[str, float]:
    """Return IDF1, IDP and IDR, 0 to 1."""
    return {
        "IDF1": counts.found / max(1.0, counts.found + 0.5 * counts.false + 0.5 * counts.missed),
        "IDP": counts.found / max(1.0, counts.found + counts.false),
        "IDR": counts.found / max(1.0, counts.found + counts.missed),
    }
