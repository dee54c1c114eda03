"""What every metric of whole runs shares: association, alignment, a mean over runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.odometry.metrics.alignment import Alignment, fit_alignment
from mambats.odometry.metrics.trajectory import Trajectory, associate


class RunMetric(Metric, ABC):
    """A score of each run, averaged over runs as the papers do, long and short ones alike.

    Args:
        alignment: How the estimate is moved first, see `fit_alignment`.
        max_gap: Seconds between estimates over which nothing is interpolated, or None, see `associate`.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = False

    total: Tensor
    runs: Tensor

    def __init__(self, alignment: Alignment = "none", max_gap: float | None = None) -> None:
        super().__init__()
        if alignment not in get_args(Alignment):
            raise ValueError(f"alignment is {alignment!r}: choose one of {', '.join(get_args(Alignment))}.")
        self.alignment: Alignment = alignment
        self.max_gap = max_gap
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("runs", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, estimate: Trajectory, truth: Trajectory) -> None:
        """Add one run.

        Args:
            estimate: Estimated poses, on their own clock.
            truth: True poses; the estimate is interpolated to their stamps.

        Raises:
            ValueError: If the two do not overlap in time, or the run leaves the score or the alignment open.
        """
        nearby, kept = associate(estimate, truth, self.max_gap)
        moved = fit_alignment(nearby, kept, self.alignment).apply(nearby)
        self.total = self.total + self.score(moved, kept).to(self.total)
        self.runs = self.runs + 1

    def compute(self) -> Tensor:
        """Return the mean over runs, a scalar float64; NaN where there was no run."""
        return self.total / self.runs

    @abstractmethod
    def score(self, estimate: Trajectory, truth: Trajectory) -> Tensor:
        """Return the score () of one run, aligned, both at the same stamps."""


def rmse(errors: Tensor) -> Tensor:
    """Return the root of the mean square over all entries."""
    return errors.square().mean().sqrt()
