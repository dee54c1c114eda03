"""Simple detectors for every table: they turn a series into surprises, from the past only."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mambats.anomaly.data import LabelledSeries

_DAY_NS = 86_400 * 10**9


class Baseline(Protocol):
    """Something that says how far each row of a series is from what was to be expected."""

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return one number a row, 0 or more, shape (T,), from rows up to it only."""
        ...


class LastValue:
    """Expect the value before."""

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return the size of each step."""
        values = filled(series)
        return _mean_size(values[1:] - values[:-1], 1)


class SeasonalNaive:
    """Expect the value of a day before; the value before where rows do not fill a day evenly, and on the first day."""

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return the distance from the day before."""
        values = filled(series)
        even = series.period_ns < _DAY_NS and _DAY_NS % series.period_ns == 0
        season = _DAY_NS // series.period_ns if even else 1
        steps = LastValue().surprise(series)
        if season >= len(values):
            return steps
        return torch.cat([steps[:season], _mean_size(values[season:] - values[:-season], 0)])


class RollingZ:
    """Expect the mean of the last rows, within their deviation.

    Args:
        rows: How many rows.
        robust: Take median and median absolute deviation (MAD, times 1.4826) instead.
    """

    def __init__(self, rows: int = 100, robust: bool = False) -> None:
        if rows < 2:
            raise ValueError(f"rows is {rows}: a deviation needs 2 or more.")
        self.rows, self.robust = rows, robust

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return deviations from the level of the rows before."""
        values = filled(series)
        before = torch.cat([values[:1].expand(self.rows, -1), values[:-1]]).unfold(0, self.rows, 1)  # (T, C, rows)
        if self.robust:
            level = before.median(-1).values
            spread = 1.4826 * (before - level[..., None]).abs().median(-1).values
        else:
            level, spread = before.mean(-1), before.std(-1)
        # A hundredth of the probation's deviation: below it a quiet stretch makes any step infinite.
        return _mean_size((values - level) / spread.clamp_min(1e-2), 0)


class IsolationForest:
    """How few random cuts part a row and its last steps from those of the probation.

    Args:
        lags: Rows read: values and their steps.
        trees: Number of trees.
        seed: Of the trees.

    Source: Liu, Ting and Zhou, Isolation Forest, ICDM 2008; scikit-learn's, fitted on the probation.
    """

    def __init__(self, lags: int = 8, trees: int = 100, seed: int = 0) -> None:
        self.lags, self.trees, self.seed = lags, trees, seed

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return the anomaly score of each row, 0 where it is that of a usual row."""
        from sklearn.ensemble import IsolationForest as Forest

        values = filled(series)
        past = torch.cat([values[:1].expand(self.lags - 1, -1), values]).unfold(0, self.lags, 1)
        rows = torch.cat([past, past.diff(dim=-1)], -1).flatten(1).numpy()
        forest = Forest(n_estimators=self.trees, random_state=self.seed).fit(rows[: series.begin])
        return torch.from_numpy(np.maximum(0.0, -forest.score_samples(rows)))


class Noise:
    """A detector that throws dice: what a score is worth that it gets too.

    Args:
        seed: Of the dice.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def surprise(self, series: LabelledSeries) -> Tensor:
        """Return the size of normal noise."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(len(series.labels), generator=generator, dtype=torch.float64).abs()


def all_baselines(seed: int = 0) -> dict[str, Baseline]:
    """Return the baselines of the table by name."""
    return {
        "last_value": LastValue(),
        "seasonal_naive": SeasonalNaive(),
        "rolling_z": RollingZ(),
        "rolling_mad": RollingZ(robust=True),
        "isolation_forest": IsolationForest(seed=seed),
        "noise": Noise(seed),
    }


def filled(series: LabelledSeries) -> Tensor:
    """Return the values (T, C) float64 with the last measured one where none was; 0, the mean, before the first."""
    values, seen = series.rows.values[0].double().cpu(), series.rows.seen[0].cpu()
    rows = torch.arange(1, len(values) + 1)[:, None]
    latest = torch.where(seen, rows, 0).cummax(0).values
    return torch.cat([torch.zeros_like(values[:1]), values]).gather(0, latest)


def _mean_size(error: Tensor, before: int) -> Tensor:
    """Return the mean size over channels, with so many zeros in front."""
    return torch.cat([error.new_zeros(before), error.abs().mean(-1)])
