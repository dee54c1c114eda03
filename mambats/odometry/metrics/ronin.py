"""The two scores of the RoNIN benchmark, exactly as its code computes them: they are not the usual ATE and RPE.

Positions are horizontal (x, y), nothing is rotated, the estimate is shifted to start where the truth does. The mean
of squares is taken over samples AND axes, so that a number here is smaller than the RMSE of distances by sqrt(2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.odometry.metrics.run_metric import RunMetric, rmse
from mambats.odometry.metrics.trajectory import Trajectory

_MINUTE = 60_000_000_000


class RoninATE(RunMetric):
    """Root of the mean squared error over samples and the two horizontal axes, in metres.

    Args:
        max_gap: Seconds between estimates over which nothing is interpolated, or None.

    Source: Herath, Yan and Furukawa, RoNIN, ICRA 2020; `compute_absolute_trajectory_error` of its code.
    """

    def __init__(self, max_gap: float | None = None) -> None:
        super().__init__("none", max_gap)

    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return the per-axis RMSE."""
        return rmse(_horizontal_error(estimate, truth))


class RoninRTE(RunMetric):
    """End-point drift over every window of one minute, per axis, in metres.

    A run of n rows shorter than the minute's N gets the drift between its ends, times N / n.

    Args:
        max_gap: Seconds between estimates over which nothing is interpolated, or None.

    Source: Herath, Yan and Furukawa, RoNIN, ICRA 2020; `compute_ate_rte` of its code, where a minute has 12,000 rows
        (200 Hz). Here it has as many as 60 s hold median steps of the truth.
    """

    def __init__(self, max_gap: float | None = None) -> None:
        super().__init__("none", max_gap)

    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return the per-axis RMSE of drifts over a minute."""
        if len(truth) < 2:
            raise ValueError("one pose has no drift: RTE needs two moments or more.")
        error = _horizontal_error(estimate, truth)
        minute = round(_MINUTE / float(truth.stamps.diff().double().median()))
        # Their code gives NaN where a run has exactly a minute of rows; it counts as shorter here.
        rows = minute if len(error) > minute else len(error) - 1
        ratio = 1.0 if rows == minute else minute / len(error)
        return rmse(error[rows:] - error[:-rows]) * ratio


def _horizontal_error(estimate: Trajectory, truth: Trajectory) -> Tensor:
    """Return estimate less truth from a common start, shape (T, 2)."""
    error: Tensor = (estimate.position - truth.position)[:, :2]
    return error - error[:1] if len(error) else torch.zeros_like(error)
