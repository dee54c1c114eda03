"""Scores of several detectors on the same series, beyond the probation only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mambats.anomaly.data import LabelledSeries
from mambats.anomaly.metrics import nab_score, point_areas, range_f1, volume_areas

#: Longest soft border of VUS in rows, where the authors take the period of each series; NAB's windows have 50 to 400.
BUFFER = 100


@dataclass(frozen=True)
class Judged:
    """What one detector said of one series: the parts of a `Judgement`, each (T,), on the CPU."""

    series: LabelledSeries
    score: Tensor
    lasting: Tensor
    alarm: Tensor
    event: Tensor


def series_scores(judged: Judged) -> dict[str, float]:
    """Return what can be said of one series: NaN where its scored rows are of one kind only.

    Areas judge the lasting score: they ask how odd stretches are. Range F1 judges events.
    """
    begin = judged.series.begin
    labels, score, event = (v[begin:] for v in (judged.series.labels, judged.lasting.double(), judged.event))
    if not bool(labels.any()) or bool(labels.all()):
        return dict.fromkeys(("vus_roc", "vus_pr", "auc_roc", "auc_pr", "range_f1"), math.nan)
    volume, points = volume_areas(score, labels, BUFFER), point_areas(score, labels)
    found = {"vus_roc": volume.roc, "vus_pr": volume.pr, "auc_roc": points.roc, "auc_pr": points.pr}
    return {name: float(value) for name, value in (found | {"range_f1": range_f1(event, labels)}).items()}


def corpus_scores(judged: list[Judged], each: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean over series, NAB's score at the detector's own threshold and at the best one on the labels.

    `nab_best` is what the benchmark prints: its threshold is chosen on the labels of the very series it scores.

    Args:
        judged: What one detector said of every series.
        each: `series_scores` of them.
    """
    means = {name: float(torch.tensor([one[name] for one in each]).nanmean()) for name in each[0]}
    means["false_per_1000"] = alarm_rate(judged)
    labels = [one.series.labels for one in judged]
    if not any(bool(one.series.labels[one.series.begin :].any()) for one in judged):
        return {"nab": math.nan, "nab_best": math.nan, **means}
    # Alarms as scores of 0 and 1: the detector's own threshold.
    own = nab_score([one.alarm.double() for one in judged], labels, threshold=0.5)
    best = nab_score([one.score for one in judged], labels)
    return {"nab": own.score, "nab_best": best.score, **means}


def alarm_rate(judged: list[Judged]) -> float:
    """Return alarms a thousand rows outside labelled windows, beyond the probation."""
    false = sum(int((one.alarm & ~one.series.labels)[one.series.begin :].sum()) for one in judged)
    rows = sum(int((~one.series.labels)[one.series.begin :].sum()) for one in judged)
    return 1000 * false / max(rows, 1)
