"""Whether an estimator's covariance is believable: average NEES and NIS with their bands, coverage."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.calibration.chi_square import chi_square_quantile
from mambats.calibration.gaussian import average_band, inside_interval, nees, nis
from mambats.gaussian import Gaussian


class _ChiSquare(Metric):
    """Mean of values that are chi-square with a known number of degrees of freedom where all is consistent.

    Args:
        degrees: Degrees of freedom, n.
        level: Probability of the band and of the single values counted as inside.
    """

    is_differentiable = False
    full_state_update = False

    total: Tensor
    inside: Tensor
    entries: Tensor

    def __init__(self, degrees: int, level: float = 0.95) -> None:
        super().__init__()
        self.degrees, self.level = degrees, level
        self._low, self._high = (chi_square_quantile((1 + side * level) / 2, degrees) for side in (-1, 1))
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("inside", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("entries", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor, mask: Tensor | None) -> None:
        """Add values (...), those where mask (...) is True."""
        kept = (values if mask is None else values[mask]).double()
        self.total = self.total + kept.sum()
        self.inside = self.inside + ((kept >= self._low) & (kept <= self._high)).sum()
        self.entries = self.entries + kept.numel()

    def compute(self) -> dict[str, Tensor]:
        """Return scalars float64, NaN where there was no entry.

        `average` (n where consistent), `per_degree` (1: consistent, above: overconfident, below: underconfident),
        `band_low` and `band_high` (of `average`, for independent entries), `inside` (share of single entries within
        their own two-sided band; `level` where consistent).
        """
        entries = int(self.entries)
        average = self.total / entries if entries else torch.full_like(self.total, torch.nan)
        band = average_band(entries, self.degrees, self.level) if entries else (torch.nan, torch.nan)
        share = self.inside.double() / entries if entries else average
        low, high = (torch.tensor(edge, dtype=torch.float64) for edge in band)
        return {
            "average": average,
            "per_degree": average / self.degrees,
            "band_low": low,
            "band_high": high,
            "inside": share,
        }


class ChiSquareMean(_ChiSquare):
    """Mean of normalised errors squared that are at hand: a filter's own NIS, say.

    Args:
        degrees: Degrees of freedom, n.
        level: Probability of the band and of the single values counted as inside.
    """

    def update(self, values: Tensor, mask: Tensor | None = None) -> None:
        """Add values (...), those where mask (...) is True."""
        self.add(values, mask)


class NEES(_ChiSquare):
    """Average normalised estimation error squared of a state of `degrees` numbers; needs truth.

    The band holds for independent entries: one moment of many runs. Along one run errors hang together, and a
    consistent filter leaves the band more often than its level says.

    Args:
        degrees: Numbers in the error, n.
        level: Probability of the band.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, 5.4.2.
    """

    def update(self, estimate: Gaussian, truth: Tensor, mask: Tensor | None = None) -> None:
        """Add estimates.

        Args:
            estimate: Mean (..., n) and covariance (..., n, n). For rotations give the error itself: mean 0.
            truth: Shape (..., n).
            mask: Which entries count, shape (...) bool, or None for all.

        Raises:
            ValueError: If shapes disagree or a covariance is not symmetric positive definite.
        """
        _check_size(truth, self.degrees)
        self.add(nees(estimate, truth), mask)


class NIS(_ChiSquare):
    """Average normalised innovation squared of a sensor of `degrees` numbers; needs no truth.

    Args:
        degrees: Numbers in the measurement, m.
        level: Probability of the band.

    Source: Bar-Shalom, Li and Kirubarajan, 2001, 5.4.2.
    """

    def update(self, innovation: Tensor, covariance: Tensor, mask: Tensor | None = None) -> None:
        """Add innovations (..., m) with their covariance (..., m, m); mask (...) bool says which count.

        Raises:
            ValueError: As `NEES.update`.
        """
        _check_size(innovation, self.degrees)
        self.add(nis(innovation, covariance), mask)


class IntervalCoverage(Metric):
    """Share of truths within the central interval of each number's own deviation.

    Args:
        level: Probability of the interval; what the share should be.
    """

    is_differentiable = False
    full_state_update = False

    inside: Tensor
    entries: Tensor

    def __init__(self, level: float = 0.95) -> None:
        super().__init__()
        self.level = level
        self.add_state("inside", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("entries", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, estimate: Gaussian, truth: Tensor, mask: Tensor | None = None) -> None:
        """Add estimates: mean (..., n), covariance (..., n, n), truth (..., n), mask (...) bool or None."""
        inside = inside_interval(estimate, truth, self.level)
        inside = inside if mask is None else inside[mask]
        self.inside, self.entries = self.inside + inside.sum(), self.entries + inside.numel()

    def compute(self) -> Tensor:
        """Return the share, a scalar float64; NaN where there was no entry."""
        return self.inside.double() / self.entries


def _check_size(value: Tensor, degrees: int) -> None:
    if not value.ndim or value.shape[-1] != degrees:
        raise ValueError(
            f"the value has shape {tuple(value.shape)}, the metric {degrees} degrees: give (..., {degrees})."
        )
