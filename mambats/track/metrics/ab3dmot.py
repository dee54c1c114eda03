"""sAMOTA, AMOTA and AMOTP: CLEAR-MOT averaged over 40 recalls, as AB3DMOT's evaluator defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mambats.track.metrics.recall import joined, mean_scores, most_pairs
from mambats.track.metrics.scene import Flags, Floats, Scene, Side, Whole

#: Recalls averaged over; those that are not reached count 0.
RECALLS = 40
_MOSTLY, _HARDLY = 0.8, 0.2


@dataclass(frozen=True)
class Ab3dmotCounts:
    """What is counted with the tracks of one least score.

    Args:
        found: Matches, with excused labels too.
        missed: FN.
        false: FP.
        labels: Boxes of labels that are not excused.
        switches: Changes of identity from one frame of a body to its next.
        fragments: Changes of identity or gaps that are made good.
        mostly_tracked: Share of bodies matched in more than 80 % of their frames.
        mostly_lost: In less than 20 %.
        alike: Sum of similarities of matches.
    """

    found: int
    missed: int
    false: int
    labels: int
    switches: int
    fragments: int
    mostly_tracked: float
    mostly_lost: float
    alike: float

    @property
    def errors(self) -> int:
        """Misses, false boxes and switches."""
        return self.missed + self.false + self.switches

    @property
    def mota(self) -> float:
        """1 less errors a label."""
        return 1 - self.errors / self.labels if self.labels else -np.inf

    @property
    def motp(self) -> float:
        """Mean similarity of matches."""
        return self.alike / self.found if self.found else 0.0

    def scaled_mota(self, recall: float) -> float:
        """MOTA as a share of the most that a recall allows, 0 to 1."""
        if not self.labels:
            return -np.inf
        return min(1.0, max(0.0, 1 - (self.errors - (1 - recall) * self.labels) / (recall * self.labels)))


def ab3dmot_scores(scenes: Sequence[Scene], threshold: float = 0.25, published: bool = True) -> dict[str, float]:
    """Return the averages over recall, and CLEAR-MOT with the tracks of the least score that makes MOTA highest.

    The score of a track is the mean over its boxes. Where a body changes its track over a gap, no switch is counted:
    name the evaluator with every number of switches.

    Args:
        scenes: Sequences as `Ab3dmotRule` leaves them; of all at once, since least scores are set over all.
        threshold: Least similarity of a match.
        published: Do as the published code does beyond its definition, as all papers' figures have it. It works out the
            mean of a track anew from its means at every step: by rounding, the very track that sets a least score then
            often falls below it, which costs sAMOTA 0 to 3 points. And a box once matched is never excused later.

    Returns:
        sAMOTA, AMOTA, AMOTP; MOTA, MOTP, recall, precision, MT, ML, TP, FP, FN, IDSW, Frag at the best least `score`.
        NaN where no label counts.

    Raises:
        ValueError: If there is no sequence.

    Source: Weng et al., AB3DMOT, IROS 2020, section IV, and the evaluator published with it.
    """
    scene = joined(scenes)
    # Written like this for the sake of the last digit, as is the comparison there.
    near = np.flatnonzero(1 - scene.similarity <= 1 - threshold)
    score = means = mean_scores(scene.tracks, scene.tracks.score)
    pardoned = scene.tracks.excused.copy()

    def counted(least: float) -> Ab3dmotCounts:
        nonlocal score
        score = mean_scores(scene.tracks, score) if published else means
        pairs = _matched(scene, near, score >= least)
        if published:
            pardoned[scene.rows[1][pairs]] = False
        return _counts(scene, pairs, score >= least, pardoned)

    if bool(scene.labels.excused.all()):
        return dict.fromkeys(_NAMES, np.nan)
    pairs = _matched(scene, near, np.ones(len(score), dtype=np.bool_))
    pardoned[scene.rows[1][pairs]] &= not published
    unmatched = np.setdiff1d(np.flatnonzero(~scene.labels.excused), scene.rows[0][pairs])
    steps = _least_scores(score[scene.rows[1][pairs]], len(pairs) + len(unmatched))
    found = [counted(least) for least, _ in steps]
    averages = np.zeros(3)
    for counts, (_, recall) in zip(found, steps, strict=True):
        averages += np.array([counts.scaled_mota(recall), counts.mota, counts.motp]) / RECALLS
    at = int(np.argmax([counts.mota for counts in found])) if found else -1
    best = steps[at][0] if found and found[at].mota > 0 else -np.inf
    return dict(zip(_NAMES[:3], map(float, averages), strict=True)) | _named(counted(best), best)


_NAMES = (
    "sAMOTA", "AMOTA", "AMOTP", "MOTA", "MOTP", "recall", "precision", "MT", "ML", "TP", "FP", "FN", "IDSW", "Frag",
    "score",
)  # fmt: skip


def _named(counts: Ab3dmotCounts, least: float) -> dict[str, float]:
    labels, tracks = counts.found + counts.missed, counts.found + counts.false
    values = (
        counts.mota, counts.motp, counts.found / max(1, labels), counts.found / max(1, tracks), counts.mostly_tracked,
        counts.mostly_lost, counts.found, counts.false, counts.missed, counts.switches, counts.fragments, least,
    )  # fmt: skip
    return dict(zip(_NAMES[3:], map(float, values), strict=True))


def _least_scores(found: Floats, labels: int) -> list[tuple[float, float]]:
    """Return least scores and the recall each stands for: with it, the recall is the nearest to one of 40 steps.

    Args:
        found: Scores of matched boxes.
        labels: Boxes that could be found.
    """
    scores = np.sort(found)[::-1]
    steps = list[tuple[float, float]]()
    wanted = 0.0
    for at, score in enumerate(scores):
        here = (at + 1) / labels
        behind = (at + 2) / labels if at < len(scores) - 1 else here
        if behind - wanted < wanted - here and at < len(scores) - 1:
            continue
        steps.append((float(score), wanted))
        wanted += 1 / RECALLS
    return steps[1:]  # the first stands for a recall of 0


def _matched(scene: Scene, near: Whole, kept: Flags) -> Whole:
    candidate = np.zeros(len(scene.similarity), dtype=np.bool_)
    candidate[near] = kept[scene.rows[1][near]]
    return most_pairs(scene, candidate)


def _counts(scene: Scene, pairs: Whole, kept: Flags, pardoned: Flags) -> Ab3dmotCounts:
    label, track = scene.rows[0][pairs], scene.rows[1][pairs]
    partner = np.full(len(scene.labels), -1)
    partner[label] = scene.tracks.bodies[track]
    free = kept.copy()
    free[track] = False
    excused = scene.labels.excused
    switches, fragments, tracked, lost = _along(scene.labels, partner)
    return Ab3dmotCounts(
        found=len(pairs),
        missed=int(((partner < 0) & ~excused).sum()),
        false=int((free & ~pardoned).sum()),
        labels=int((~excused).sum()),
        switches=switches,
        fragments=fragments,
        mostly_tracked=tracked,
        mostly_lost=lost,
        alike=float(scene.similarity[pairs].sum()),
    )


def _along(labels: Side, partner: Whole) -> tuple[int, int, float, float]:
    """Follow bodies from box to box; return switches, fragments, and shares of bodies mostly tracked and mostly lost.

    Args:
        labels: N boxes.
        partner: The track each is matched with, (N,), -1 for none.
    """
    order = np.lexsort((labels.frames, labels.bodies))
    body, held, excused = labels.bodies[order], partner[order], labels.excused[order]
    first = np.ones(len(body), dtype=np.bool_)
    first[1:] = body[1:] != body[:-1]
    last = np.roll(first, -1)
    # The first box of a body is looked at whether it is excused or not, as the published evaluator does.
    counts = ~excused | first
    before, behind = np.roll(held, 1), np.roll(held, -1)
    inner = ~first & ~excused & (held >= 0)
    switches = inner & np.roll(counts, 1) & (before >= 0) & (before != held)
    # A track is remembered from a match on, until the body is excused.
    at = np.arange(len(body))
    known = np.maximum.accumulate(np.where(counts & (held >= 0), at, -1))
    since = np.maximum.accumulate(np.where(first, at, np.where(excused, at + 1, 0)))
    remembered = np.roll(known >= since, 1)
    fragments = inner & (before != held) & (last | (remembered & (behind >= 0)))
    return int(switches.sum()), int(fragments.sum()), *_shares(body, held, counts, excused)


def _shares(body: Whole, held: Whole, counts: Flags, excused: Flags) -> tuple[float, float]:
    bodies = int(body.max(initial=-1)) + 1
    spans = np.bincount(body, ~excused, minlength=bodies)
    tracked = np.bincount(body, counts & (held >= 0), minlength=bodies)
    seen = spans > 0
    share = tracked[seen] / spans[seen]
    return float((share > _MOSTLY).sum() / max(1, seen.sum())), float((share < _HARDLY).sum() / max(1, seen.sum()))
