"""The segment errors of the KITTI odometry benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.odometry.metrics.error import relative_errors
from mambats.odometry.metrics.trajectory import Trajectory, associate

LENGTHS = (100, 200, 300, 400, 500, 600, 700, 800)


class KittiSegments(Metric):
    """Mean translation error (%) and rotation error (deg/m) over all segments of 100 to 800 m of all runs.

    A segment starts at every tenth pose and ends at the first pose that lies further along the true path than its
    length; segments that do not fit in the run are left out. No alignment: only motion within a segment counts.

    Args:
        lengths: Metres of path, each > 0.
        stride: Poses between the starts of segments; 10 is the benchmark's (1 s).
        max_gap: Seconds between estimates over which nothing is interpolated, or None.

    Source: Geiger, Lenz and Urtasun, Are we ready for Autonomous Driving?, 2012; `calcSequenceErrors` of the
        development kit.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = False

    totals: Tensor
    segments: Tensor

    def __init__(self, lengths: Sequence[float] = LENGTHS, stride: int = 10, max_gap: float | None = None) -> None:
        super().__init__()
        if not lengths or min(lengths) <= 0 or stride < 1:
            raise ValueError(
                f"lengths are {lengths}, stride {stride}: needed metres above 0 and a stride of 1 or more."
            )
        self.lengths, self.stride, self.max_gap = tuple(float(length) for length in lengths), stride, max_gap
        self.add_state("totals", default=torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("segments", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, estimate: Trajectory, truth: Trajectory) -> None:
        """Add the segments of one run.

        Raises:
            ValueError: If the two do not overlap in time, rotations are missing, or the run is shorter than every
                segment.
        """
        nearby, kept = associate(estimate, truth, self.max_gap)
        found = [(length, cut_segments(kept.distance, length, self.stride)) for length in self.lengths]
        if not any(len(pairs[0]) for _, pairs in found):
            raise ValueError(
                f"the true path has {float(kept.distance[-1]):.1f} m: no segment of {min(self.lengths):g} m fits. Give "
                "shorter lengths, and say so beside the number."
            )
        for length, pairs in found:
            errors = [relative_errors(nearby, kept, pairs, relation) for relation in ("translation", "rotation")]
            self.totals = self.totals + torch.stack([e.sum() for e in errors]).to(self.totals) / length
            self.segments = self.segments + len(pairs[0])

    def compute(self) -> dict[str, Tensor]:
        """Return `translation_percent` and `rotation_deg_per_m`, scalars float64; NaN where there was no segment."""
        translation, rotation = self.totals / self.segments
        return {"translation_percent": 100 * translation, "rotation_deg_per_m": rotation * (180 / math.pi)}


def cut_segments(distance: Tensor, length: float, stride: int) -> tuple[Tensor, Tensor]:
    """Return first and last rows of the segments of one length.

    Args:
        distance: Metres travelled at each pose, shape (T,).
        length: Metres.
        stride: Poses between starts.
    """
    first = torch.arange(0, len(distance), stride, device=distance.device)
    last = torch.searchsorted(distance, distance[first] + length, right=True)
    fits = last < len(distance)
    return first[fits], last[fits]
