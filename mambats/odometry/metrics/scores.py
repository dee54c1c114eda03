"""ATE, RPE and drift: one number a run."""

from __future__ import annotations

from torch import Tensor, linalg

from mambats.odometry.metrics.alignment import Alignment
from mambats.odometry.metrics.error import Relation, Unit, absolute_errors, pairs_apart, relative_errors
from mambats.odometry.metrics.run_metric import RunMetric, rmse
from mambats.odometry.metrics.trajectory import Trajectory


class ATE(RunMetric):
    """Absolute trajectory error (APE): RMSE of |S estimate - truth| over the poses of a run; metres, or radians.

    Args:
        alignment: S. Say it beside the number: papers that do not cannot be compared.
        relation: `translation` or `rotation` (the angle left after alignment).
        max_gap: Seconds between estimates over which nothing is interpolated, or None.

    Source: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, 2012, equation 3.
    """

    def __init__(
        self, alignment: Alignment = "se3", relation: Relation = "translation", max_gap: float | None = None
    ) -> None:
        super().__init__(alignment, max_gap)
        self.relation: Relation = relation

    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return the RMSE over poses."""
        return rmse(absolute_errors(estimate, truth, self.relation))


class RPE(RunMetric):
    """Relative pose error: RMSE of the error of the motion over a time or a distance; metres, or radians.

    Args:
        delta: Seconds or metres between the two poses of a pair; all overlapping pairs count.
        unit: `s`, or `m` travelled along the truth.
        relation: `translation`, `rotation`, or `position`, which needs no rotations but an alignment.
        alignment: Changes only `position` and, with sim3, the scale.
        max_gap: Seconds between estimates over which nothing is interpolated, or None.

    Source: Sturm et al., 2012, equations 1 and 2.
    """

    def __init__(
        self,
        delta: float = 1.0,
        unit: Unit = "s",
        relation: Relation = "translation",
        alignment: Alignment = "none",
        max_gap: float | None = None,
    ) -> None:
        super().__init__(alignment, max_gap)
        self.delta = delta
        self.unit: Unit = unit
        self.relation: Relation = relation

    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return the RMSE over pairs."""
        return rmse(relative_errors(estimate, truth, pairs_apart(truth, self.delta, self.unit), self.relation))


class Drift(RunMetric):
    """Error of the displacement from start to end over the length of the true path; dimensionless (1 % is 0.01).

    Args:
        alignment: How the estimate is turned first; where it starts does not matter.
        max_gap: Seconds between estimates over which nothing is interpolated, or None.
    """

    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return end error over path length."""
        length = truth.distance[-1]
        if not bool(length > 0):
            raise ValueError(f"the truth ({len(truth)} poses) does not move: drift needs a path longer than 0 m.")
        moved = [run.position[-1] - run.position[0] for run in (estimate, truth)]
        return linalg.vector_norm(moved[0] - moved[1]) / length
