"""Judge uncertainty, entry by entry: quantiles and samples, and Gaussians with their covariance."""

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

__all__ = [
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
