"""Streams of a recording seen from another frame of its calibration tree."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.preprocess.carried import Array, Values
from mambats.preprocess.transform.imu import MoveImu
from mambats.preprocess.transform.rigid import from_poses, to_poses
from mambats.preprocess.transform.track import POSE
from mambats.series import FrameTree, RaggedStream, Stream

FREE = (("wx", "wy", "wz"), ("mx", "my", "mz"))  # the same anywhere on the body, but for the rotation
POINTS = (("px", "py", "pz"), ("x", "y", "z"))
NEAR = 1e-9  # metres below which two origins are one


class IntoFrame:
    """Give what a stream measured as a sensor in another frame of the same body would have measured it.

    By the standard names of channels: rates and magnetic fields are rotated; specific forces also get the lever arm
    (`MoveImu`), velocities w x r; points are moved. Other channels pass. Covariances are rotated, J P J^T; that
    of a velocity with a lever arm is dropped.

    Args:
        frames: Calibration tree.
        target: Frame to express the stream in, such as base_link.
        angular: Of the lever arm of accelerations, see `MoveImu`.
    """

    def __init__(self, frames: FrameTree, target: str, angular: Literal["backward", "none"] = "backward") -> None:
        self.frames = frames
        self.target = target
        self.angular: Literal["backward", "none"] = angular

    def stream(self, stream: Stream) -> Stream:
        """Move a stream of vectors; its `frame` says where it is.

        Raises:
            ValueError: If a frame is not joined to the target, or a lever arm needs rates that the stream has not.
        """
        mounting = self.frames.transform(self.target, stream.frame)
        if set(POSE) <= set(stream.channels):
            raise ValueError(
                f"a pose in {stream.frame!r} is no vector: use move_pose for another body frame, or a FrameTree of "
                "world frames for another world."
            )
        values = np.array(stream.values, dtype=np.float64)
        if stream.observed is not None:
            values[~stream.observed] = np.nan
        rotated = values.copy()
        jacobian = np.eye(values.shape[1])
        for names in (*FREE, ("ax", "ay", "az"), ("vx", "vy", "vz"), *POINTS):
            if set(names) <= set(stream.channels):
                at = [stream.channels.index(name) for name in names]
                rotated[:, at] = values[:, at] @ mounting[:3, :3].T
                rotated[:, at] += mounting[:3, 3] if names in POINTS else 0.0
                jacobian[np.ix_(at, at)] = mounting[:3, :3]
        covariance = None if stream.covariance is None else rotate_covariance(stream.covariance, jacobian)
        made = replace(stream, values=rotated, frame=self.target, covariance=covariance, observed=None)
        if np.abs(mounting[:3, 3]).max() > NEAR:
            made = self._with_arm(stream, made, values, mounting)
        present = ~np.isnan(made.values)
        return replace(made, observed=None if present.all() else present)

    def ragged(self, stream: RaggedStream) -> RaggedStream:
        """Move the points (x y z) of sweeps; NaN stays NaN."""
        mounting = self.frames.transform(self.target, stream.frame)
        at = [stream.channels.index(name) for name in ("x", "y", "z")]
        values = stream.values.copy()
        values[:, at] = values[:, at] @ mounting[:3, :3].T + mounting[:3, 3]
        return replace(stream, values=values, frame=self.target)

    def pose(self, pose: Stream, child: str) -> Stream:
        """Turn poses of the body's frame `child` into poses of the target, in the same world; see `move_pose`."""
        return move_pose(pose, self.frames.transform(child, self.target))

    def _with_arm(self, stream: Stream, made: Stream, values: Values, mounting: Values) -> Stream:
        """Add what a distance between the origins does to forces and velocities."""
        names = stream.channels
        needs = [axis for axis in ("ax", "vx") if axis in names]
        if not needs:
            return made
        if not {"wx", "wy", "wz"} <= set(names):
            raise ValueError(
                f"{needs[0]!r} is measured {np.linalg.norm(mounting[:3, 3]):.3g} m off {self.target!r}: its lever arm "
                "needs the angular rates wx wy wz in the same stream. Add them, or rotate only."
            )
        rates = [names.index(name) for name in ("wx", "wy", "wz")]
        moved, covariance = made.values.astype(np.float64), made.covariance
        if "vx" in names:
            at = [names.index(name) for name in ("vx", "vy", "vz")]
            moved[:, at] -= np.cross(moved[:, rates], mounting[:3, 3])
            covariance = None  # mixes rates and velocities: not worked out, so not claimed
        if "ax" in names:
            six = [*rates, *(names.index(name) for name in ("ax", "ay", "az"))]
            mover = MoveImu(mounting, angular=self.angular)
            gaps = np.diff(stream.stamps) * 1e-9
            moved[:, six] = mover(values[:, six], np.concatenate([gaps[:1], gaps]) if len(gaps) else None)
            if covariance is not None and stream.covariance is not None:
                covariance = np.broadcast_to(covariance, (len(values), *covariance.shape[-2:])).copy()
                given = stream.covariance[..., six, :][..., six]
                covariance[:, np.array(six)[:, None], six] = mover.covariance(values[:, six], given)
        return replace(made, values=moved, covariance=covariance)


def rotate_covariance(covariance: npt.NDArray[np.float64], jacobian: npt.NDArray[np.float64]) -> Values:
    """Return J P J^T of covariances (..., C, C), symmetric to the last digit."""
    made = jacobian @ covariance @ jacobian.swapaxes(-1, -2)
    return (made + made.swapaxes(-1, -2)) / 2


def move_pose(pose: Stream, mounting: Array) -> Stream:
    """Return the track of another frame of the same body.

    Args:
        pose: Stream with channels px py pz qx qy qz qw of a body frame in the world, without covariance.
        mounting: Pose of the wanted frame in the tracked one, (4, 4): `frames.transform("imu", "base_link")` turns
            poses of the IMU into poses of base_link.

    Raises:
        ValueError: If channels are missing, or there is a covariance, whose quaternion part has no one meaning.
    """
    if lacking := [name for name in POSE if name not in pose.channels]:
        raise ValueError(f"the pose stream has channels {', '.join(pose.channels)}: {lacking[0]!r} is missing.")
    if pose.covariance is not None:
        raise ValueError("a covariance of x y z w quaternions cannot be moved: `replace(pose, covariance=None)`.")
    at = [pose.channels.index(name) for name in POSE]
    values = np.array(pose.values, dtype=np.float64)
    present = np.isfinite(values[:, at]).all(1)
    rows = values[present]
    rows[:, at] = to_poses(from_poses(rows[:, at]) @ mounting)
    values[present] = rows
    return replace(pose, values=values)
