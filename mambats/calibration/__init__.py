"""Judge uncertainty, entry by entry: quantiles and samples, and Gaussians with their covariance.

Everything is loaded when first used: a stream on a robot asks for a chi-square alone and has no torch; `NEES`, `NIS`,
`ChiSquareMean` and `IntervalCoverage`, which gather many entries, need torchmetrics.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.calibration.chi_square import chi_square_quantile
    from mambats.calibration.gaussian import (
        average_band,
        crps_from_gaussian,
        gaussian_nll,
        inside_ellipsoid,
        inside_interval,
        nees,
        nis,
    )
    from mambats.calibration.metrics import NEES, NIS, ChiSquareMean, IntervalCoverage
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

_HOMES = {
    "ChiSquareMean": "metrics",
    "IntervalCoverage": "metrics",
    "NEES": "metrics",
    "NIS": "metrics",
    "average_band": "gaussian",
    "check_quantile_values": "quantile",
    "check_quantiles": "quantile",
    "chi_square_quantile": "chi_square",
    "covered": "quantile",
    "crps_from_gaussian": "gaussian",
    "crps_from_quantiles": "quantile",
    "crps_from_samples": "quantile",
    "gaussian_nll": "gaussian",
    "inside_ellipsoid": "gaussian",
    "inside_interval": "gaussian",
    "interval_columns": "quantile",
    "nees": "gaussian",
    "nis": "gaussian",
    "pinball": "quantile",
    "pit_from_quantiles": "quantile",
    "pit_from_samples": "quantile",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
