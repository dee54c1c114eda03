"""Areas under curves: point by point, and over ranges with soft borders (VUS). No threshold, no point adjustment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.anomaly.metrics.ranges import check_flags, find_ranges


class Areas(NamedTuple):
    """Area under the ROC curve and under the precision-recall curve, scalars float64."""

    roc: Tensor
    pr: Tensor


def check_scores(scores: Tensor, labels: Tensor) -> None:
    """Refuse scores that cannot be ranked against labels.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or only one kind of row is there.
    """
    check_flags("labels", labels)
    if scores.shape != labels.shape:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}, labels {tuple(labels.shape)}: needed the same (T,)."
        )
    if bool((missing := scores.isnan()).any()):
        raise ValueError(
            f"score {int(missing.nonzero()[0])} is NaN: leave out rows that have none, or score them as not anomalous."
        )
    if not bool(labels.any()) or bool(labels.all()):
        kind = "anomalous" if bool(labels.all()) else "normal"
        raise ValueError(f"all {len(labels)} rows are {kind}: a curve needs rows of both kinds.")


def point_areas(scores: Tensor, labels: Tensor) -> Areas:
    """Return AUC-ROC and average precision, every row on its own.

    Args:
        scores: Higher is more anomalous, shape (T,).
        labels: Anomalous rows, shape (T,) bool.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or rows are of one kind only.
    """
    check_scores(scores, labels)
    order = scores.argsort(descending=True)
    ends = _last_of_equal(scores[order])
    hits = labels[order].double().cumsum(0)[ends]
    rows = ends.double() + 1
    recall, precision = hits / hits[-1], hits / rows
    fall_out = (rows - hits) / (rows - hits)[-1]
    zero = recall.new_zeros(1)
    roc = torch.trapezoid(torch.cat([zero, recall]), torch.cat([zero, fall_out]))
    return Areas(roc, (torch.diff(recall, prepend=zero) * precision).sum())


def volume_areas(scores: Tensor, labels: Tensor, buffer: int) -> Areas:
    """Return VUS-ROC and VUS-PR: areas under range-aware curves, averaged over buffers of 0 to `buffer` rows.

    A buffer of l rows makes the borders of each range soft: l / 2 rows on either side count as anomalous by
    sqrt(1 - distance / l). Recall is the found mass over the mean of hard mass and of hard mass plus flagged soft mass
    (at most 1), times the share of ranges that were met at all. With a buffer of 0 the second is average precision
    but for that share.

    Args:
        scores: Higher is more anomalous, shape (T,).
        labels: Anomalous rows, shape (T,) bool.
        buffer: Longest buffer in rows, >= 0; the authors take the period of the series.

    Raises:
        ValueError: As `point_areas`, or if buffer is negative.

    Source: Paparrizos et al., Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly
        Detection, VLDB 2022, section 3, as release 0.0.6 of their code has it (the first one counted unflagged soft
        rows as missed, and took trapezoids under precision); here at every threshold, where it takes 250.
    """
    check_scores(scores, labels)
    if buffer < 0:
        raise ValueError(f"buffer is {buffer} rows: needed 0 or more.")
    order = scores.argsort(descending=True)
    ends = _last_of_equal(scores[order])
    ranges = find_ranges(labels)
    areas = [_range_areas(scores, labels, ranges, width, order, ends) for width in range(buffer + 1)]
    return Areas(*(torch.stack(each).mean() for each in zip(*areas, strict=True)))


def soft_labels(labels: Tensor, ranges: Tensor, width: int) -> Tensor:
    """Return how anomalous each row counts with a buffer of `width` rows, (T,) float64 within [0, 1]."""
    soft = labels.double()
    half = width // 2
    distance = torch.arange(1, half + 1)
    worth = torch.sqrt(1 - distance.double() / max(width, 1))
    for first, last in ranges.tolist():
        for rows in (last + distance, first - distance):
            there = (rows >= 0) & (rows < len(soft))
            soft[rows[there]] += worth[there]
    return soft.clamp(max=1.0)


def _range_areas(
    scores: Tensor, labels: Tensor, ranges: Tensor, width: int, order: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the areas for one buffer."""
    soft = soft_labels(labels, ranges, width)
    hits = soft[order].cumsum(0)[ends]
    rows = ends.double() + 1
    mass = labels.sum() + torch.where(labels, 0, soft)[order].cumsum(0)[ends] / 2
    peaks = torch.stack([scores[first : last + 1].max() for first, last in _merged(ranges, width // 2, len(soft))])
    met = (peaks >= scores[order][ends][:, None]).double().mean(1)
    zero, one = soft.new_zeros(1), soft.new_ones(1)
    recall = (hits / mass).clamp(max=1.0) * met
    fall_out = (rows - hits) / (len(soft) - mass)
    roc = torch.trapezoid(torch.cat([zero, recall, one]), torch.cat([zero, fall_out, one]))
    return roc, (torch.diff(recall, prepend=zero) * hits / rows).sum()


def _merged(ranges: Tensor, half: int, rows: int) -> list[tuple[int, int]]:
    """Return ranges with their buffers, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in ranges.tolist():
        wide = max(first - half, 0), min(last + half, rows - 1)
        if found and found[-1][1] >= wide[0]:
            wide = found.pop()[0], wide[1]
        found.append(wide)
    return found


def _last_of_equal(falling: Tensor) -> Tensor:
    """Return the last row of each run of equal scores: what has one score is flagged together."""
    changes = torch.ones_like(falling, dtype=torch.bool)
    changes[:-1] = falling[1:] != falling[:-1]
    return changes.nonzero()[:, 0]
