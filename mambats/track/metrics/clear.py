"""CLEAR-MOT: misses, false boxes and changes of identity, counted; MOTA and MOTP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mambats.track.metrics.assign import EPS, best_of_frame, sure_pairs
from mambats.track.metrics.scene import Scene, Whole
from mambats.track.metrics.sums import Sums

# More than any sum of similarities in a frame: going on with a track comes before all else.
_STAY = 1000.0
# A body is mostly tracked above, mostly lost below these shares of its boxes.
_MOSTLY, _HARDLY = 0.8, 0.2


@dataclass(frozen=True)
class ClearCounts(Sums):
    """What CLEAR-MOT is made of; sums over sequences.

    Args:
        found: Matched pairs, TP.
        missed: FN.
        false: FP.
        switches: Matches of a label with another track than at its match before, IDSW.
        fragments: Times a label's matches go on after a gap.
        mostly_tracked: Labelled bodies matched in more than 80 % of their frames.
        partly_tracked: Between.
        mostly_lost: In less than 20 %.
        alike: Sum of similarities of matches.
        frames: How many.
    """

    found: float
    missed: float
    false: float
    switches: float
    fragments: float
    mostly_tracked: float
    partly_tracked: float
    mostly_lost: float
    alike: float
    frames: float


def clear_counts(scene: Scene, threshold: float = 0.5) -> ClearCounts:
    """Return the counts of one sequence, as TrackEval counts.

    Pairs of the frame before go first; a switch is counted against the last match, however long ago.

    Args:
        scene: One class of one sequence.
        threshold: Least similarity of a match.

    Source: Bernardin and Stiefelhagen, Evaluating Multiple Object Tracking Performance, 2008; details as TrackEval.
    """
    pairs = matched_pairs(scene, threshold)
    label, track = (bodies[pairs] for bodies in scene.bodies)
    # Frames without labels or without tracks are passed over: what was matched before them is still "the frame before".
    order = np.cumsum((scene.labels.counts > 0) & (scene.tracks.counts > 0))[scene.frames[pairs]]
    sorting = np.lexsort((order, label))
    label, track, order = label[sorting], track[sorting], order[sorting]
    same = label[1:] == label[:-1]
    switches = int((same & (track[1:] != track[:-1])).sum())
    fragments = int((same & (order[1:] != order[:-1] + 1)).sum())
    share = np.bincount(label, minlength=len(scene.labels.spans)) / scene.labels.spans
    mostly, hardly = int((share > _MOSTLY).sum()), int((share < _HARDLY).sum())
    found = len(pairs)
    return ClearCounts(
        found, len(scene.labels) - found, len(scene.tracks) - found, switches, fragments,
        mostly, len(share) - mostly - hardly, hardly, float(scene.similarity[pairs].sum()), len(scene),
    )  # fmt: skip


def clear_scores(counts: ClearCounts) -> dict[str, float]:
    """Return MOTA (1 at best, below 0 at worst), MODA, MOTP (mean similarity), recall, precision and the counts."""
    labels, tracks = max(1.0, counts.found + counts.missed), max(1.0, counts.found + counts.false)
    bodies = max(1.0, counts.mostly_tracked + counts.partly_tracked + counts.mostly_lost)
    return {
        "MOTA": (counts.found - counts.false - counts.switches) / labels,
        "MODA": (counts.found - counts.false) / labels,
        "MOTP": counts.alike / max(1.0, counts.found),
        "recall": counts.found / labels,
        "precision": counts.found / tracks,
        "MT": counts.mostly_tracked / bodies,
        "ML": counts.mostly_lost / bodies,
        "TP": counts.found,
        "FP": counts.false,
        "FN": counts.missed,
        "IDSW": counts.switches,
        "Frag": counts.fragments,
    }


def matched_pairs(scene: Scene, threshold: float) -> Whole:
    """Return the matches of CLEAR-MOT in order of frames: those of the frame before first, then the most alike."""
    candidate = (scene.similarity >= threshold - EPS) & (scene.similarity > EPS)
    sure, crowded = sure_pairs(scene, candidate)
    both = np.flatnonzero((scene.labels.counts > 0) & (scene.tracks.counts > 0))
    begin = np.searchsorted(scene.frames[sure], np.arange(len(scene) + 1))
    label, track = scene.bodies
    found = dict[int, Whole]()
    for frame in crowded:
        at = int(np.searchsorted(both, frame)) - 1
        before = int(both[at]) if at >= 0 else -1
        last = found.get(before, sure[begin[before] : begin[before + 1]] if before >= 0 else sure[:0])
        held = np.full(len(scene.labels.spans), -1)
        held[label[last]] = track[last]
        block = slice(scene.offsets[frame], scene.offsets[frame + 1])
        stays = held[label[block]] == track[block]
        score = np.where(candidate[block], _STAY * stays + scene.similarity[block], 0.0)
        found[int(frame)] = best_of_frame(scene, int(frame), score)
    return np.sort(np.concatenate([sure, *found.values()]))
