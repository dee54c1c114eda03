"""The score of the Numenta anomaly benchmark: early alarms inside labelled windows earn, alarms outside cost.

Written from the published definition. One threshold serves all series; the benchmark itself takes the one that
scores best on the labels (`best_threshold`), which no robot can, so give the score at your own threshold too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.anomaly.metrics.ranges import check_flags, find_ranges

#: Share of a series in which nothing is scored, of at most so many rows.
PROBATION, PROBATION_ROWS = 0.15, 5000
#: Window lengths past a window after which an alarm costs in full.
FAR = 3.0


@dataclass(frozen=True)
class NabProfile:
    """What an application cares for.

    Args:
        hit: Worth of a window found at once (A_TP).
        false_alarm: Cost of an alarm far from any window (A_FP).
        miss: Cost of a window not found (A_FN).
    """

    hit: float = 1.0
    false_alarm: float = 0.11
    miss: float = 1.0


STANDARD = NabProfile()
LOW_FALSE_ALARMS = NabProfile(false_alarm=0.22)
LOW_MISSES = NabProfile(miss=2.0)


class NabScore(NamedTuple):
    """A score (100 is perfect, 0 is silence, below 0 is worse than silence) and the threshold it was taken at."""

    score: float
    threshold: float


def probation_rows(rows: int) -> int:
    """Return the first rows of a series that are not scored: 15 %, at most 750."""
    return int(PROBATION * min(rows, PROBATION_ROWS))


def nab_score(
    scores: Sequence[Tensor],
    labels: Sequence[Tensor],
    threshold: float | None = None,
    profile: NabProfile = STANDARD,
) -> NabScore:
    """Score detectors on a corpus, 0 for silence and 100 for every window found at its first row without other alarms.

    In a window the best placed alarm counts, by s(y) = 2 / (1 + exp(5 y)) - 1 at its place y from -1 (first row) to
    0 (end); every alarm outside costs by s of its distance past the last window in window lengths, from 0 right
    behind it to 1 far off or before any window. Alarms in the probation are not counted.

    Args:
        scores: Of each series, shape (T,); higher is more anomalous, an alarm is a score >= threshold.
        labels: Rows in labelled windows, shape (T,) bool, of each series.
        threshold: Of all series, or None for the one that scores best on these labels, as the benchmark does.
        profile: What counts how much.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or no window lies beyond the probations.

    Source: Lavin and Ahmad, Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark, ICMLA
        2015, section II; probation and reach as in the benchmark's repository.
    """
    if len(scores) != len(labels) or not scores:
        raise ValueError(f"{len(scores)} series of scores, {len(labels)} of labels: needed one of each, at least one.")
    events = [_events(*pair, profile) for pair in zip(scores, labels, strict=True)]
    windows = sum(count for _, _, count in events)
    if not windows:
        raise ValueError("no labelled window lies beyond the probations: nothing can be found.")
    at, worth = torch.cat([at for at, _, _ in events]), torch.cat([worth for _, worth, _ in events])
    silence, best = -profile.miss * windows, profile.hit * windows
    level, total = _sweep(at, worth) if threshold is None else (threshold, float(worth[at >= threshold].sum()))
    return NabScore(100 * total / (best - silence), level)


def _sweep(at: Tensor, worth: Tensor) -> tuple[float, float]:
    """Return the threshold of the highest total, and that total; silence is a threshold too."""
    order = at.argsort(descending=True)
    falling, total = at[order], worth[order].cumsum(0)
    whole = torch.ones_like(falling, dtype=torch.bool)
    whole[:-1] = falling[1:] != falling[:-1]
    falling, total = falling[whole], total[whole]
    best = int(total.argmax())
    return (float(falling[best]), float(total[best])) if total[best] > 0 else (math.inf, 0.0)


def _events(scores: Tensor, labels: Tensor, profile: NabProfile) -> tuple[Tensor, Tensor, int]:
    """Return what is gained, over silence, once the threshold falls to a score: scores, gains, number of windows."""
    check_flags("labels", labels)
    if scores.shape != labels.shape or bool(scores.isnan().any()):
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}, labels {tuple(labels.shape)}: needed the same (T,), without NaN."
        )
    exact, begin = scores.double(), probation_rows(len(scores))
    ranges = find_ranges(labels)
    outside = ~labels
    outside[:begin] = False
    found = [(exact[outside], -profile.false_alarm * _distance_cost(len(scores), ranges)[outside])]
    for first, last in ranges.tolist():
        rows = torch.arange(max(first, begin), max(last, begin - 1) + 1)
        if len(rows):
            place = -(last - rows + 1).double() / (last - first + 1)
            worth = profile.hit * _sigmoid(place) / _sigmoid(torch.tensor(-1.0))
            order = exact[rows].argsort(descending=True)
            reached = worth[order].cummax(0).values
            found.append((exact[rows][order], torch.diff(reached, prepend=reached.new_tensor([-profile.miss]))))
    return torch.cat([at for at, _ in found]), torch.cat([worth for _, worth in found]), len(found) - 1


def _distance_cost(rows: int, ranges: Tensor) -> Tensor:
    """Return what an alarm at each row outside costs, in (0, 1]."""
    cost = torch.ones(rows, dtype=torch.float64)
    for first, last in ranges.tolist():
        after = torch.arange(last + 1, rows)
        past = (after - last).double() / max(last - first, 1)
        cost[last + 1 :] = torch.where(past >= FAR, 1.0, -_sigmoid(past))
    return cost


def _sigmoid(place: Tensor) -> Tensor:
    return 2 * torch.sigmoid(-5 * place.double()) - 1
