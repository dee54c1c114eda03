"""Sweeps and boxes of a moving robot in a frame that stands still, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.lidar.crop import columns
from mambats.preprocess.transform.rigid import invert
from mambats.preprocess.transform.track import PoseTrack
from mambats.series import RaggedStream


class FixedFrame:
    """Take out the motion of the robot: what a sensor saw, in the frame of a track of it.

    A table is moved by the pose at its stamp; `Deskew` comes before. Positions x y z are moved, velocities vx vy (vz)
    are rotated (they are over ground, seen along the sensor's axes), and yaw becomes the heading in the new frame;
    other channels stay.

    Args:
        track: Poses of the sensor (`PoseTrack(pose, mounting)` where they are those of another frame).
    """

    def __init__(self, track: PoseTrack) -> None:
        self.track = track

    def __call__(self, tables: RaggedStream) -> RaggedStream:
        """Move sweeps or boxes into the fixed frame.

        Raises:
            ValueError: If a stamp is outside of the track, or x, y or z is missing.
        """
        return replace(_move(tables, self.track.at(tables.stamps)), frame=self.track.frame)

    def inverse(self, tables: RaggedStream, frame: str = "") -> RaggedStream:
        """Move sweeps or boxes from the fixed frame into the sensor's at each stamp, and name it `frame`."""
        return replace(_move(tables, invert(self.track.at(tables.stamps))), frame=frame)

    def gather(self, sweeps: RaggedStream, count: int) -> RaggedStream:
        """Give each stamp the points of its last `count` sweeps, all seen from the sensor at that stamp.

        Causal. Adds the channel `age`, seconds since the sweep a point is from.
        """
        fixed = self(sweeps)
        rows = [np.arange(max(0, row - count + 1), row + 1) for row in range(len(sweeps))]
        sizes = np.diff(sweeps.splits)
        spans = [(sweeps.splits[first[0]], sweeps.splits[first[-1] + 1]) for first in rows]
        values = [fixed.values[begin:end] for begin, end in spans]
        ages = [np.repeat((sweeps.stamps[now[-1]] - sweeps.stamps[now]) * 1e-9, sizes[now]) for now in rows]
        splits = np.concatenate([[0], np.cumsum([len(part) for part in values])]).astype(np.int64)
        channels = (*sweeps.channels, "age")
        joined = np.c_[np.concatenate([fixed.values[:0], *values]), np.concatenate([np.zeros(0), *ages])]
        unit = sweeps.unit if isinstance(sweeps.unit, str) else (*sweeps.unit, "s")
        made = replace(fixed, values=joined, splits=splits, channels=channels, unit=unit)
        return self.inverse(made, sweeps.frame)


def _move(tables: RaggedStream, motions: Tensor) -> RaggedStream:
    counts = torch.from_numpy(np.diff(tables.splits))
    values = tables.values.copy()
    points = columns(tables)
    at = [tables.channels.index(name) for name in ("x", "y", "z")]
    each = motions.repeat_interleave(counts, 0)
    turns = each[:, :3, :3].numpy()
    values[:, at] = _rotate(turns, points) + each[:, :3, 3].numpy()
    if "yaw" in tables.channels:
        yaw = tables.channels.index("yaw")
        ahead = np.stack([np.cos(values[:, yaw]), np.sin(values[:, yaw]), np.zeros(len(values))], 1)
        ahead = _rotate(turns, ahead)
        values[:, yaw] = np.arctan2(ahead[:, 1], ahead[:, 0])
    if {"vx", "vy"} <= set(tables.channels):
        names = [name for name in ("vx", "vy", "vz") if name in tables.channels]
        speeds = np.zeros((len(values), 3))
        own = [tables.channels.index(name) for name in names]
        speeds[:, : len(own)] = tables.values[:, own]
        values[:, own] = _rotate(turns, speeds)[:, : len(own)]
    return replace(tables, values=values)


def _rotate(turns: npt.NDArray[np.float64], vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.einsum("nij,nj->ni", turns, vectors)
