"""Point adjustment, under a name that says what it does; here to show it, not to report it.

Every row of a range counts as found once any one of its rows is: random scores then reach the F1 of good
detectors where ranges are long (Kim et al., Towards a Rigorous Evaluation of Time-Series Anomaly Detection,
AAAI 2022). Report `range_f1`, VUS or the NAB score instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.anomaly.metrics.ranges import find_ranges
from mambats.anomaly.metrics.threshold_free import check_scores


def best_point_f1(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the highest F1 over all thresholds, row by row, a scalar float64. The threshold is taken on the labels.

    Args:
        scores: Higher is more anomalous, shape (T,).
        labels: Anomalous rows, shape (T,) bool.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or rows are of one kind only.
    """
    check_scores(scores, labels)
    order = scores.argsort(descending=True)
    hits = labels[order].double().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + labels.sum())
    falling = scores[order]
    whole = torch.ones_like(labels)
    whole[:-1] = falling[1:] != falling[:-1]
    return f1[whole].max()


def inflated_point_adjusted_f1(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the highest F1 after every range takes the highest score of its rows. It inflates: never report it alone.

    Args:
        scores: Higher is more anomalous, shape (T,).
        labels: Anomalous rows, shape (T,) bool.

    Raises:
        ValueError: As `best_point_f1`.

    Source: Xu et al., Unsupervised Anomaly Detection via Variational Auto-Encoder for Seasonal KPIs, WWW 2018.
    """
    check_scores(scores, labels)
    raised = scores.clone()
    for first, last in find_ranges(labels).tolist():
        raised[first : last + 1] = scores[first : last + 1].max()
    return best_point_f1(raised, labels)
