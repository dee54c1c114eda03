"""Undo what the sensor's own motion does to a sweep that takes a tenth of a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.preprocess.lidar.crop import columns
from mambats.preprocess.transform.rigid import invert, steady_points
from mambats.preprocess.transform.track import PoseTrack
from mambats.series import RaggedStream, Stamps, Stream

TWIST = ("wx", "wy", "wz", "vx", "vy", "vz")


class Deskew:
    """Give all points of a sweep as the sensor sees them at one time.

    p' = T(reference)^-1 T(t) p with T the sensor's pose. At a constant twist (angular and linear velocity in the
    sensor's frame) T is its exponential; along a track it is interpolated pose by pose. Points whose time is not
    finite come out NaN.

    Args:
        reference: That time, seconds after the stamp of the sweep.
    """

    def __init__(self, reference: float = 0.0) -> None:
        self.reference = reference

    def steady(self, points: Batch, times: npt.NDArray[Any] | Tensor, twist: npt.NDArray[Any] | Tensor) -> Batch:
        """Undistort at constant twist.

        Args:
            points: Shape (*batch, N, 3), metres.
            times: Seconds after the stamp, (*batch, N).
            twist: Angular and linear velocity of the sensor in its own frame, (*batch, 6) [rad/s, m/s].
        """
        return steady_points(points, twist, beside(times, tensor(points)) - self.reference)

    def along(self, points: Batch, times: npt.NDArray[Any] | Tensor, stamp: int, track: PoseTrack) -> Batch:
        """Undistort one sweep along a track of the sensor.

        Args:
            points: Shape (N, 3), metres.
            times: Seconds after the stamp, (N,).
            stamp: Of the sweep, int64 nanoseconds.
            track: Poses of the sensor (`PoseTrack(pose, mounting)` where they are those of another frame).

        Raises:
            ValueError: If a time is outside of the poses.
        """
        given = tensor(points)
        clock = beside(times, given.double().cpu())
        known = clock.isfinite()
        after = clock.where(known, self.reference) * 1e9
        where = track.where(int(stamp) + after.floor().long().numpy(), after - after.floor())
        back = invert(track.at(np.array([stamp + round(self.reference * 1e9)])))[0]
        made = _per_segment(given.double().cpu(), where, track, back)
        made = made if bool(known.all()) else made.where(known[:, None], torch.nan)
        return like(made.to(given), points)

    def ragged(self, sweeps: RaggedStream, motion: PoseTrack | Stream) -> RaggedStream:
        """Undistort every sweep of a stream with channels x y z t; t becomes the reference.

        Args:
            sweeps: Points in the sensor's frame.
            motion: A track of the sensor, or a stream of its twist, wx wy wz vx vy vz in its frame, of which each
                sweep takes the value interpolated at the middle of its times.

        Raises:
            ValueError: If a channel is missing, or a sweep is outside of the motion.
        """
        points, times = columns(sweeps).astype(np.float64), columns(sweeps, ("t",))[:, 0].astype(np.float64)
        made = points.copy()
        for row, (begin, end) in enumerate(zip(sweeps.splits, sweeps.splits[1:], strict=False)):
            part, stamp = slice(begin, end), int(sweeps.stamps[row])
            if begin == end:
                continue
            if isinstance(motion, PoseTrack):
                made[part] = self.along(points[part], times[part], stamp, motion)
            else:
                middle = stamp + round(float(np.nanmean(times[part])) * 1e9)
                made[part] = self.steady(points[part], times[part], twist_at(motion, np.array([middle]))[0])
        values = sweeps.values.copy()
        values[:, [sweeps.channels.index(name) for name in ("x", "y", "z")]] = made
        values[:, sweeps.channels.index("t")] = self.reference
        return replace(sweeps, values=values)


def twist_at(motion: Stream, stamps: Stamps) -> npt.NDArray[np.float64]:
    """Return twists (n, 6) interpolated at stamps (n,), from a stream with channels wx wy wz vx vy vz.

    Raises:
        ValueError: If a channel is missing or absent, or a stamp is outside of the stream.
    """
    if lacking := [name for name in TWIST if name not in motion.channels]:
        raise ValueError(f"the motion has channels {', '.join(motion.channels)}: {lacking[0]!r} is missing.")
    first, last = int(motion.stamps[0]), int(motion.stamps[-1])
    out = (stamps < first) | (stamps > last)
    if out.any():
        raise ValueError(f"{int(stamps[out][0])} ns is outside of the motion, {first} to {last} ns: cut the sweeps.")
    rows = motion.values[:, [motion.channels.index(name) for name in TWIST]]
    return np.stack([np.interp(stamps - first, motion.stamps - first, column) for column in rows.T], axis=-1)


def _per_segment(points: Tensor, where: tuple[Tensor, Tensor], track: PoseTrack, back: Tensor) -> Tensor:
    """Move points by back @ T(time), all points between two poses at once: there the twist is constant."""
    index, share = where
    if not len(index):
        return points
    begin = int(index.min())
    steps = index - begin
    counts = torch.bincount(steps).tolist()
    order = _order(steps)
    if order is not None:
        points, share = points[order], share[order]
    made = torch.empty_like(points)
    parts = zip(points.split(counts), share.split(counts), made.split(counts), strict=True)
    for segment, (part, when, out) in enumerate(parts, begin):
        motion = back @ track.motions[segment]
        torch.addmm(motion[:3, 3], steady_points(part, track.twists[segment], when), motion[:3, :3].T, out=out)
    return made if order is None else torch.empty_like(made).index_copy_(0, order, made)


def _order(steps: Tensor) -> Tensor | None:
    """Return rows in order of segment, or None where they are so already, as most sensors send them."""
    numbers = steps.numpy()
    if bool((numbers[1:] >= numbers[:-1]).all()):
        return None
    # Whole numbers of 16 bits are sorted by their digits, which takes a quarter of comparing them.
    small = numbers.astype(np.uint16) if numbers.max() < 65536 else numbers
    return torch.from_numpy(np.argsort(small, kind="stable"))
