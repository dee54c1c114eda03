"""Regressors that any model must beat: boosted trees and ridge on window features, the mean; with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mambats.data.cases import CaseSet
from mambats.regress.features import Float64, window_features
from mambats.regress.head import Estimate

#: Rows of the features' window.
ROWS = 30


def fit_baselines(
    train: Sequence[CaseSet], cap: float | None, level: float, seed: int = 0
) -> dict[str, tuple[Any, Any, Any]]:
    """Return three fitted models a baseline: of the point, and of the lower and upper bound (None: no interval).

    Args:
        train: Training cases, scaled; rows without truth are left out.
        cap: Where the truth is held, or None.
        level: Share of the interval.
        seed: Of the trees.
    """
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([table for cases in train for table in feature_tables(cases)])
    y = np.concatenate([case.target for cases in train for case in cases.cases])
    known = np.isfinite(y)
    x, y = x[known], y[known] if cap is None else np.minimum(y[known], cap)
    bounds = ((1 - level) / 2, (1 + level) / 2)

    def trees(quantile: float | None = None) -> Any:
        if quantile is None:
            return HistGradientBoostingRegressor(random_state=seed)
        return HistGradientBoostingRegressor(loss="quantile", quantile=quantile, random_state=seed)

    def constant(quantile: float | None = None) -> Any:
        return DummyRegressor() if quantile is None else DummyRegressor(strategy="quantile", quantile=quantile)

    chosen = {
        "boosted_trees": (trees(), *(trees(q) for q in bounds)),
        "ridge": (make_pipeline(StandardScaler(), Ridge()), None, None),
        "mean": (constant(), *(constant(q) for q in bounds)),
    }
    return {name: tuple(None if m is None else m.fit(x, y) for m in models) for name, models in chosen.items()}  # type: ignore[misc]


def estimate_with(models: tuple[Any, Any, Any], table: Float64, cap: float | None) -> Estimate:
    """Return what the three models of a baseline say of feature rows (T, F), held within 0 and cap: each (T,)."""

    def say(model: Any) -> torch.Tensor:
        found = np.full(len(table), np.nan) if model is None else model.predict(table)
        return torch.from_numpy(np.asarray(found, dtype=np.float64)).clamp(min=0.0, max=cap)

    return Estimate(*(say(model) for model in models))


def feature_tables(cases: CaseSet) -> list[Float64]:
    """Return the window features of every row of each case, (T, 4 C + 1); absent values count as the mean, 0."""
    return [window_features(values.nan_to_num(0.0).double().numpy(), ROWS) for values in cases.scaled]
