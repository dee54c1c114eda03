"""AMOTA and AMOTP, TID and LGD, as nuScenes defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mambats.track.metrics.assign import best_of_frame, sure_pairs
from mambats.track.metrics.recall import joined
from mambats.track.metrics.scene import Flags, Floats, Scene, Whole
from mambats.track.metrics.similarity import REACH

#: Recalls averaged over, from the least on.
RECALLS = np.linspace(0.1, 1, 40).round(12)
#: Centres of a match lie nearer, m; also AMOTP where a recall is not reached.
NEAR = 2.0
_MATCH = 1000.0
_NAMES = ("MOTAR", "MOTA", "MOTP m", "recall", "TP", "FP", "FN", "IDSW", "Frag", "TID s", "LGD s")
_ALL = ("AMOTA", "AMOTP m", *_NAMES, "score")


def nuscenes_scores(scenes: Sequence[Scene]) -> dict[str, float]:
    """Return the averages over recall, and the scores with the tracks of the least score that makes MOTA highest.

    Args:
        scenes: Sequences as `NuscenesRule` leaves them; of all at once, since least scores are set over all.

    Returns:
        AMOTA; AMOTP (m); at the best least `score`: MOTAR, MOTA (0 at least), MOTP (mean distance, m), recall, TP
        (without matches at a switch), FP, FN, IDSW, Frag; TID, from a body's first box to its first match (s), and
        LGD, its longest gap (s), both the mean over bodies that are found at all. NaN where there is no label.

    Raises:
        ValueError: If there is no sequence.

    Source: Caesar et al., nuScenes, CVPR 2020; nuscenes-devkit, `eval/tracking`.
    """
    scene = joined(scenes)
    distance = (1 - scene.similarity) * REACH
    near = distance < NEAR
    total = len(scene.labels)
    if not total:
        return dict.fromkeys(_ALL, np.nan)
    whole = _matches(scene, near)
    found = np.sort(scene.tracks.score[scene.rows[1][whole.pairs[~whole.switched]]])[::-1]
    if not len(found):
        worst = {"AMOTA": 0.0, "AMOTP m": NEAR, "MOTAR": 0.0, "MOTA": 0.0, "recall": 0.0, "FN": float(total)}
        return dict.fromkeys(_ALL, np.nan) | worst
    recalls = np.arange(1, len(found) + 1) / total
    least = np.interp(RECALLS, recalls, found, right=0)[recalls[-1] >= RECALLS]
    rows = {one: _scores(scene, distance, near & (scene.tracks.score >= one)[scene.rows[1]], one) for one in set(least)}
    missing = len(RECALLS) - len(least)
    best = max(sorted(rows), key=lambda one: rows[one]["MOTA"])
    return {
        "AMOTA": float(np.sum([np.nan_to_num(rows[one]["MOTAR"]) for one in least]) / len(RECALLS)),
        "AMOTP m": float((np.sum([rows[one]["MOTP m"] for one in least]) + NEAR * missing) / len(RECALLS)),
        **rows[best],
        "score": float(best),
    }


@dataclass(frozen=True)
class _Matches:
    """Matched pairs in order of frames (M,), and at which of them a label changes its track."""

    pairs: Whole
    switched: Flags


def _scores(scene: Scene, distance: Floats, candidate: Flags, least: float) -> dict[str, float]:
    matches = _matches(scene, candidate)
    total, found, switches = len(scene.labels), len(matches.pairs), int(matches.switched.sum())
    false = int((scene.tracks.score >= least).sum()) - found
    missed, plain = total - found, found - switches
    recall = plain / total
    errors = missed + false + switches
    gaps, late, longest = _waits(scene, matches.pairs)
    values = (
        max(0.0, 1 - (errors - (1 - recall) * total) / (recall * total)) if plain else np.nan,
        max(0.0, 1 - errors / total), float(distance[matches.pairs].mean()) if found else np.nan, found / total,
        plain, false, missed, switches, gaps, late * scene.seconds, longest * scene.seconds,
    )  # fmt: skip
    return dict(zip(_NAMES, map(float, values), strict=True))


def _matches(scene: Scene, candidate: Flags) -> _Matches:
    """Match as py-motmetrics does: a label's last track first, however long ago, then as many and as near as can be."""
    sure, crowded = sure_pairs(scene, candidate)
    label, track = scene.bodies
    held = np.full(len(scene.labels.spans), -1)
    begin = np.searchsorted(scene.frames[sure], crowded)
    found, done = list[Whole](), 0
    for frame, until in zip(crowded, begin, strict=True):
        # Later matches overwrite earlier ones of the same label.
        held[label[sure[done:until]]] = track[sure[done:until]]
        done = until
        pairs = _of_frame(scene, int(frame), candidate, held)
        held[label[pairs]] = track[pairs]
        found.append(pairs)
    pairs = np.sort(np.concatenate([sure, *found]))
    order = np.lexsort((scene.frames[pairs], label[pairs]))
    bodies, partner = label[pairs][order], track[pairs][order]
    switched = np.zeros(len(pairs), dtype=np.bool_)
    switched[order[1:]] = (bodies[1:] == bodies[:-1]) & (partner[1:] != partner[:-1])
    return _Matches(pairs, switched)


def _of_frame(scene: Scene, frame: int, candidate: Flags, held: Whole) -> Whole:
    block = slice(scene.offsets[frame], scene.offsets[frame + 1])
    label, track = (bodies[block] for bodies in scene.bodies)
    free = candidate[block].copy()
    stays = list[int]()
    for at in np.flatnonzero(free & (held[label] == track)):
        if free[at]:  # two labels may have had the same track: the first has it
            stays.append(int(at))
            free[(label == label[at]) | (track == track[at])] = False
    rest = best_of_frame(scene, frame, np.where(free, _MATCH + scene.similarity[block], 0.0))
    return np.sort(np.concatenate([np.array(stays, dtype=np.int64) + scene.offsets[frame], rest]))


def _waits(scene: Scene, pairs: Whole) -> tuple[int, float, float]:
    """Return gaps that end, frames until a body is found, and its longest gap; means over bodies found."""
    labels = scene.labels
    hit = np.zeros(len(labels), dtype=np.bool_)
    hit[scene.rows[0][pairs]] = True
    order = np.lexsort((labels.frames, labels.bodies))
    body, frame, hit = labels.bodies[order], labels.frames[order], hit[order]
    begin = np.searchsorted(body, np.arange(len(labels.spans)))
    end = begin + labels.spans - 1
    gaps, late, longest, seen = 0, 0, 0, 0
    for first, last in zip(begin, end, strict=True):
        hits = frame[first : last + 1][hit[first : last + 1]]
        if not len(hits):
            continue
        between = np.diff(hits) - 1
        seen += 1
        gaps += int((between > 0).sum())
        late += int(hits[0] - frame[first])
        longest += int(max(hits[0] - frame[first], frame[last] - hits[-1], between.max(initial=0)))
    return gaps, late / max(1, seen), longest / max(1, seen)
