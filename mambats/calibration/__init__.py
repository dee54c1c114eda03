"""Judge uncertainty, entry by entry: quantiles and samples, and Gaussians with their covariance.

`NEES`, `NIS`, `ChiSquareMean` and `IntervalCoverage` gather many entries; they are loaded when first used, since they
need torchmetrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mambats.calibration.gaussian import (
    average_band,
    chi_square_quantile,
    crps_from_gaussian,
    gaussian_nll,
    inside_ellipsoid,
    inside_interval,
    nees,
    nis,
)
from mambats.calibration.quantile import (
    check_quantile_values,
    check_quantiles,
    covered,
    crps_from_quantiles,
    crps_from_samples,
    interval_columns,
    pinball,
    pit_from_quantiles,
    pit_from_samples,
)

if TYPE_CHECKING:
    from mambats.calibration.metrics import NEES, NIS, ChiSquareMean, IntervalCoverage

__all__ = [
    "ChiSquareMean",
    "IntervalCoverage",
    "NEES",
    "NIS",
    "average_band",
    "check_quantile_values",
    "check_quantiles",
    "chi_square_quantile",
    "covered",
    "crps_from_gaussian",
    "crps_from_quantiles",
    "crps_from_samples",
    "gaussian_nll",
    "inside_ellipsoid",
    "inside_interval",
    "interval_columns",
    "nees",
    "nis",
    "pinball",
    "pit_from_quantiles",
    "pit_from_samples",
]

_METRICS = ("ChiSquareMean", "IntervalCoverage", "NEES", "NIS")


def __getattr__(name: str) -> Any:
    """Load a metric when it is first used: an estimator on a robot judges single entries without torchmetrics."""
    if name not in _METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mambats.calibration import metrics

    return getattr(metrics, name)
