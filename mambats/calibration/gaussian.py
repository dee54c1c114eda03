"""Judge a Gaussian: consistency (NEES, NIS), coverage of its intervals and ellipsoids, log score and CRPS.

Like the quantiles beside it, everything returns one number an entry, so that a caller may leave out absent ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.calibration.chi_square import chi_square_quantile
from mambats.gaussian import Gaussian


def nees(estimate: Gaussian, truth: Tensor) -> Tensor:
    """Return the normalised estimation error squared, e' P^-1 e of e = truth - mean.

    Chi-square with n degrees of freedom where the estimate is consistent: its mean is n, above it the estimate is
    overconfident. Angles must be given as differences already (mean 0, truth the wrapped error).

    Args:
        estimate: Mean (..., n) and covariance (..., n, n).
        truth: Shape (..., n), units of the mean.

    Returns:
        Shape (...), dimensionless.

    Raises:
        ValueError: If shapes disagree, or a covariance is not symmetric positive definite (names the entry; not
            checked on a GPU, where it gives NaN).

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, eq. 5.4.2-1.
    """
    _check_shapes(estimate, truth)
    return nis(truth - estimate.mean, estimate.covariance)


def nis(innovation: Tensor, covariance: Tensor) -> Tensor:
    """Return the normalised innovation squared, y' S^-1 y; it needs no truth.

    Args:
        innovation: Measured less predicted, shape (..., m).
        covariance: Of the innovation, H P H' + R, shape (..., m, m).

    Returns:
        Shape (...), dimensionless; chi-square with m degrees of freedom where the filter is consistent.

    Raises:
        ValueError: As `nees`.

    Source: Bar-Shalom, Li and Kirubarajan, 2001, eq. 5.4.2-2.
    """
    _check_shapes(Gaussian(innovation, covariance), innovation)
    factor = _factor(covariance)
    white = torch.linalg.solve_triangular(factor, innovation.unsqueeze(-1), upper=False)
    return white.squeeze(-1).square().sum(-1)


def average_band(entries: int, degrees: int, level: float = 0.95) -> tuple[float, float]:
    """Return between which values the mean of N NEES (or NIS) lies with probability `level` if all is consistent.

    N times the mean is chi-square with N n degrees of freedom, for entries that are independent. Errors along one
    run are not: take one moment of many runs, or read the band as narrower than it should be.

    Args:
        entries: N, at least 1.
        degrees: n, numbers in the state (or the measurement).
        level: Probability inside, two-sided.

    Raises:
        ValueError: If a count is below 1 or level lies outside (0, 1).

    Source: Bar-Shalom, Li and Kirubarajan, 2001, section 5.4.2.
    """
    if entries < 1:
        raise ValueError(f"entries is {entries}: a mean needs 1 or more.")
    _check_level(level)
    low, high = (chi_square_quantile((1 + side * level) / 2, entries * degrees) / entries for side in (-1, 1))
    return low, high


def inside_ellipsoid(estimate: Gaussian, truth: Tensor, level: float = 0.95) -> Tensor:
    """Return where the truth lies in the ellipsoid of probability `level`, bool, shape (...). Its mean is coverage.

    Args:
        estimate: Mean (..., n) and covariance (..., n, n).
        truth: Shape (..., n).
        level: Probability of the ellipsoid, within (0, 1).

    Raises:
        ValueError: As `nees`, or if level lies outside (0, 1).
    """
    return nees(estimate, truth) <= chi_square_quantile(level, truth.shape[-1])


def inside_interval(estimate: Gaussian, truth: Tensor, level: float = 0.95) -> Tensor:
    """Return where each number lies in its own central interval of probability `level`, bool, shape (..., n).

    Args:
        estimate: Mean (..., n) and covariance (..., n, n), of which only the diagonal is read.
        truth: Shape (..., n).
        level: Probability of the interval, within (0, 1).

    Raises:
        ValueError: If shapes disagree or level lies outside (0, 1).
    """
    _check_shapes(estimate, truth)
    _check_level(level)
    reach = math.sqrt(chi_square_quantile(level, 1))
    return (truth - estimate.mean).abs() <= reach * estimate.deviation


def gaussian_nll(estimate: Gaussian, truth: Tensor) -> Tensor:
    """Return minus the log density at the truth, shape (...), in nats: the log score, lower is better.

    Args:
        estimate: Mean (..., n) and covariance (..., n, n).
        truth: Shape (..., n).

    Raises:
        ValueError: As `nees`.
    """
    _check_shapes(estimate, truth)
    _factor(estimate.covariance)  # names the entry that is no covariance
    return estimate.nll(truth)


def crps_from_gaussian(estimate: Gaussian, truth: Tensor) -> Tensor:
    """Return the continuous ranked probability score of each number's marginal, in units of the truth.

    s (z (2 F(z) - 1) + 2 f(z) - 1 / sqrt(pi)) of z = (truth - mean) / s, with F and f of the standard normal.

    Args:
        estimate: Mean (..., n) and covariance (..., n, n), of which only the diagonal is read.
        truth: Shape (..., n).

    Returns:
        Shape (..., n); |truth - mean| where the deviation is 0.

    Raises:
        ValueError: If shapes disagree.

    Source: Gneiting and Raftery, Strictly Proper Scoring Rules, 2007, equation 21.
    """
    _check_shapes(estimate, truth)
    spread = estimate.deviation
    error = truth - estimate.mean
    z = error / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return error * (2 * torch.special.ndtr(z) - 1) + spread * (2 * density - 1 / math.sqrt(math.pi))


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}: a probability within (0, 1) is needed, e.g. 0.95.")


def _check_shapes(estimate: Gaussian, truth: Tensor) -> None:
    mean, covariance = tuple(estimate.mean.shape), tuple(estimate.covariance.shape)
    if not mean or tuple(truth.shape) != mean or covariance != (*mean, mean[-1]):
        raise ValueError(
            f"mean has shape {mean}, covariance {covariance}, the value {tuple(truth.shape)}: needed (..., n), "
            "(..., n, n) and (..., n) with the same leading axes."
        )


def _factor(covariance: Tensor) -> Tensor:
    """Return the Cholesky factor; on a CPU, name the entry that has none or is not symmetric."""
    factor, wrong = torch.linalg.cholesky_ex(covariance)
    if covariance.is_cuda:
        return torch.where(wrong[..., None, None] > 0, torch.nan, factor)
    size = covariance.abs().amax((-2, -1), keepdim=True) if covariance.numel() else covariance
    # A filter's own arithmetic leaves an asymmetry of some roundings; a thousand of them is a mistake.
    crooked = (covariance - covariance.mT).abs() > 1e3 * torch.finfo(covariance.dtype).eps * size
    bad = (wrong > 0) | crooked.any(-1).any(-1) | ~covariance.isfinite().all(-1).all(-1)
    if bool(bad.any()):
        entry = torch.nonzero(torch.atleast_1d(bad))[0].tolist()
        raise ValueError(
            f"covariance {entry} is not symmetric positive definite: keep it so (Joseph or square-root form), and "
            "leave out numbers that are known exactly."
        )
    return factor
