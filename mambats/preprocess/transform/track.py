"""Where a frame was at any time: poses on a clock, interpolated at constant twist."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.transform.rigid import compose, exp_se3, from_poses, invert, log_se3, twist_points
from mambats.series import Stamps, Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")


class PoseTrack:
    """The motion of a frame in another, from a stream of poses; between two rows it is a screw at constant twist.

    Args:
        pose: Stream with channels px py pz qx qy qz qw, at least two rows, all present.
        mounting: Pose of the wanted frame in the frame that the stream tracks, (4, 4): the LiDAR in base_link where
            the poses are base_link's. None where it is the same.
        beyond: Seconds before the first and after the last row to which the motion is carried on; what is asked for
            further out is refused.

    Raises:
        ValueError: If channels are missing, values absent, quaternions not of length 1, or rows under two.
    """

    def __init__(self, pose: Stream, mounting: npt.NDArray[np.float64] | None = None, beyond: float = 0.0) -> None:
        if lacking := [name for name in POSE if name not in pose.channels]:
            raise ValueError(f"the pose stream has channels {', '.join(pose.channels)}: {lacking[0]!r} is missing.")
        rows = np.asarray(pose.values[:, [pose.channels.index(name) for name in POSE]], dtype=np.float64)
        _check(rows, pose)
        motions = from_poses(rows)
        self.frame = pose.frame
        self.stamps = pose.stamps
        self.motions = torch.from_numpy(motions if mounting is None else compose(motions, mounting))
        self.twists = log_se3(invert(self.motions[:-1]) @ self.motions[1:])  # (T - 1, 6)
        self.beyond = beyond

    def at(self, stamps: Stamps) -> Tensor:
        """Return motions (..., 4, 4) float64 at stamps (...), int64 nanoseconds."""
        index, share = self.where(stamps)
        return self.motions[index] @ exp_se3(self.twists[index] * share[..., None])

    def place(self, points: Tensor, stamps: Stamps) -> Tensor:
        """Return points (..., 3), each seen at its own stamp (...), in the frame of the poses."""
        index, share = self.where(stamps)
        moved = twist_points(points.double(), self.twists[index] * share[..., None])
        motions = self.motions[index]
        return (motions[..., :3, :3] @ moved[..., None])[..., 0] + motions[..., :3, 3]

    def where(self, stamps: Stamps, fraction: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the row before each time, and the share of the way to the next.

        Args:
            stamps: Times, int64 nanoseconds, (...).
            fraction: Of a nanosecond to add, (...): half of one is 1e-8 m at 20 m/s.

        Raises:
            ValueError: If a time is further outside of the poses than `beyond`.
        """
        wanted = np.asarray(stamps, dtype=np.int64)
        out = np.maximum(self.stamps[0] - wanted, wanted - self.stamps[-1]) * 1e-9
        if out.size and out.max() > self.beyond:
            raise ValueError(
                f"{int((out > self.beyond).sum())} of {out.size} times are outside of the poses by up to "
                f"{out.max():.6g} s, {self.beyond:g} s are allowed: poses are there from {self.stamps[0]} to "
                f"{self.stamps[-1]} ns. Cut the sweeps to that, or set `beyond`."
            )
        index = (np.searchsorted(self.stamps, wanted, side="right") - 1).clip(0, len(self.stamps) - 2)
        since = (wanted - self.stamps[index]) + (0.0 if fraction is None else fraction.numpy())
        share = since / (self.stamps[index + 1] - self.stamps[index])
        return torch.from_numpy(np.asarray(index)), torch.from_numpy(np.asarray(share))


def _check(rows: npt.NDArray[np.float64], pose: Stream) -> None:
    if len(rows) < 2:
        raise ValueError(f"there are {len(rows)} poses, needed two to go between.")
    absent = ~np.isfinite(rows).all(1)
    if absent.any():
        at = int(absent.argmax())
        raise ValueError(f"pose of row {at} ({pose.stamps[at]} ns) is absent ({int(absent.sum())} such): cut them.")
    length = np.linalg.norm(rows[:, 3:], axis=1)
    off = np.abs(length - 1) > 1e-3  # as mambats.series.Rigid: four printed digits
    if off.any():
        at = int(off.argmax())
        raise ValueError(
            f"quaternion of row {at} ({pose.stamps[at]} ns) has length {length[at]:.4f}, needed 1 "
            f"({int(off.sum())} such rows): normalise it, or cut the row."
        )
