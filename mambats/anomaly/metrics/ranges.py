"""Precision and recall for anomalies that are ranges of rows, not rows."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Bias = Literal["flat", "front", "back", "middle"]


def check_flags(name: str, flags: Tensor) -> None:
    """Refuse what is not one flag a row.

    Raises:
        ValueError: If flags are not (T,) bool.
    """
    if flags.ndim != 1 or flags.dtype != torch.bool:
        raise ValueError(
            f"{name} have shape {tuple(flags.shape)} and dtype {flags.dtype}: needed (T,) bool, one flag a row of one "
            "series."
        )


def find_ranges(flags: Tensor) -> Tensor:
    """Return the first and last row of each run of True in flags (T,), shape (n, 2) int64.

    Raises:
        ValueError: If flags are not (T,) bool.
    """
    check_flags("flags", flags)
    edge = torch.diff(flags.int(), prepend=flags.new_zeros(1).int(), append=flags.new_zeros(1).int())
    return torch.stack([(edge == 1).nonzero()[:, 0], (edge == -1).nonzero()[:, 0] - 1], 1)


def range_recall(alarms: Tensor, labels: Tensor, *, existence: float = 0.0, bias: Bias = "flat") -> Tensor:
    """Return how much of each anomalous range was found, averaged over ranges.

    A range earns `existence` for being met at all, and the rest for the share of it that alarms cover, weighted by
    `bias`, divided by the number of separate alarms that cover it: one range should raise one alarm.

    Args:
        alarms: Rows flagged, shape (T,) bool.
        labels: Anomalous rows, shape (T,) bool.
        existence: alpha, share of the reward for being met at all, within [0, 1].
        bias: Which rows of a range weigh more: all alike, its front, back or middle.

    Returns:
        Scalar float64 within [0, 1]; NaN where there is no anomalous range.

    Raises:
        ValueError: If shapes disagree or a setting is out of range.

    Source: Tatbul, Lee, Zdonik, Alam and Gottschlich, Precision and Recall for Time Series, NeurIPS 2018, equations 2
        to 7, with gamma(x) = 1 / x.
    """
    _check_pair(alarms, labels)
    if not 0 <= existence <= 1 or bias not in get_args(Bias):
        raise ValueError(f"existence is {existence}, bias {bias!r}: needed a share and one of {get_args(Bias)}.")
    rewards = _overlap_rewards(find_ranges(labels), alarms, bias)
    met = torch.stack(
        [alarms[first : last + 1].any() for first, last in find_ranges(labels).tolist()] or [labels.any()]
    )
    return (existence * met.double() + (1 - existence) * rewards).mean() if len(rewards) else rewards.sum() / 0


def range_precision(alarms: Tensor, labels: Tensor, *, bias: Bias = "flat") -> Tensor:
    """Return how much of each alarm lies on anomalies, averaged over alarms: `range_recall` the other way round.

    Args:
        alarms: Rows flagged, shape (T,) bool.
        labels: Anomalous rows, shape (T,) bool.
        bias: Which rows of an alarm weigh more.

    Returns:
        Scalar float64 within [0, 1]; NaN where there is no alarm.

    Source: Tatbul et al., 2018, equations 8 and 9 (precision knows no reward for existence).
    """
    return range_recall(labels, alarms, existence=0.0, bias=bias)


def range_f1(alarms: Tensor, labels: Tensor, *, existence: float = 0.0, bias: Bias = "flat") -> Tensor:
    """Return the harmonic mean of range precision and recall; 0 where nothing was found or no alarm was raised.

    Args:
        alarms: Rows flagged, shape (T,) bool.
        labels: Anomalous rows, shape (T,) bool.
        existence: alpha of the recall.
        bias: Of both.

    Returns:
        Scalar float64; NaN where there is no anomalous range.
    """
    recall = range_recall(alarms, labels, existence=existence, bias=bias)
    if recall.isnan() or not bool(alarms.any()):
        return recall * 0
    precision = range_precision(alarms, labels, bias=bias)
    return 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(torch.float64).tiny)


def _overlap_rewards(ranges: Tensor, covering: Tensor, bias: Bias) -> Tensor:
    """Return the weighted share of each range that is covered over the number of separate pieces, (n,) float64."""
    rewards = [torch.zeros((), dtype=torch.float64)] * len(ranges)
    for index, (first, last) in enumerate(ranges.tolist()):
        inside = covering[first : last + 1]
        pieces = len(find_ranges(inside))
        if pieces:
            weight = _weights(last - first + 1, bias)
            rewards[index] = (weight * inside).sum() / weight.sum() / pieces
    return torch.stack(rewards) if rewards else torch.zeros(0, dtype=torch.float64)


def _weights(length: int, bias: Bias) -> Tensor:
    """Return what each row of a range weighs: figure 2 of the paper."""
    rising = torch.arange(1, length + 1, dtype=torch.float64)
    if bias == "middle":
        return torch.minimum(rising, rising.flip(0))
    return {"flat": torch.ones_like(rising), "front": rising.flip(0), "back": rising}[bias]


def _check_pair(alarms: Tensor, labels: Tensor) -> None:
    for name, flags in (("alarms", alarms), ("labels", labels)):
        check_flags(name, flags)
    if alarms.shape != labels.shape:
        raise ValueError(f"alarms have {len(alarms)} rows, labels {len(labels)}: needed one of each a row.")
