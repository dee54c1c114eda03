"""Poses, velocities and odometry: geometry_msgs and nav_msgs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mambats.formats.messages.fields import Columns, Fields, Kind, Parts, Topic, copied, header, make_stream, noise
from mambats.formats.messages.layout import Table
from mambats.formats.messages.sensors import numbers
from mambats.formats.repair import Array, Place, settle_quaternions
from mambats.series import Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")
POSE_UNITS = ("m", "m", "m", "", "", "", "")
TWIST = ("vx", "vy", "vz", "wx", "wy", "wz")
TWIST_UNITS = ("m/s", "m/s", "m/s", "rad/s", "rad/s", "rad/s")


def pose_paths(path: str, position: str = "position", orientation: str = "orientation") -> list[str]:
    """Fields of a geometry_msgs/Pose (or Transform) under a path."""
    return [f"{path}{position}.{axis}" for axis in "xyz"] + [f"{path}{orientation}.{axis}" for axis in "xyzw"]


def twist_paths(path: str) -> list[str]:
    """Fields of a geometry_msgs/Twist under a path."""
    return [f"{path}{part}.{axis}" for part in ("linear", "angular") for axis in "xyz"]


def pose(path: str, covariance: str = "", stamped: bool = True) -> Kind:
    """Read a type that holds one pose, with its 6x6 covariance where it has one."""
    paths = pose_paths(path)
    extra = [covariance] if covariance else []

    def pick(table: Table) -> list[Columns]:
        return [{**(header(table) if stamped else {}), **copied(table, [*paths, *extra])}]

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        made, lines = pose_stream(fields, topic, fields.stack(*paths))
        if covariance:
            made = replace(made, covariance=pose_noise(made.values, fields[covariance].astype(np.float64)))
        return Parts({topic.stream: made}, repairs=repairs + lines)

    return Kind(pick, build)


def odometry() -> Kind:
    """nav_msgs/Odometry: the pose as `odom`, the velocity in the child's frame as `odom/twist`."""
    poses, twists = pose_paths("pose.pose."), twist_paths("twist.twist.")
    extra = ["child_frame_id", "pose.covariance", "twist.covariance"]

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        made, lines = pose_stream(fields, topic, fields.stack(*poses))
        made = replace(made, covariance=pose_noise(made.values, fields["pose.covariance"].astype(np.float64)))
        twist, _ = make_stream(fields, topic, fields.stack(*twists), TWIST, TWIST_UNITS)
        frame, more = fields.frame(topic, "child_frame_id")
        spread = noise(fields["twist.covariance"].astype(np.float64).reshape(-1, 6, 6))
        twist = replace(twist, frame=frame, covariance=spread)
        return Parts({topic.stream: made, f"{topic.stream}/twist": twist}, repairs=[*repairs, *lines, *more])

    return Kind(lambda table: [{**header(table), **copied(table, [*poses, *twists, *extra])}], build)


def velocity() -> Kind:
    """geometry_msgs/Twist, which has no header."""
    paths = twist_paths("")

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        made, lines = make_stream(fields, topic, fields.stack(*paths), TWIST, TWIST_UNITS)
        return Parts({topic.stream: made}, repairs=repairs + lines)

    return Kind(lambda table: [copied(table, paths)], build)


def pose_stream(fields: Fields, topic: Topic, values: Array) -> tuple[Stream, list[str]]:
    """Make a stream of poses, shape (T, 7), with quaternions of length 1."""
    place = Place(topic.place.name, fields.numbers, "message")
    values[:, 3:], lines = settle_quaternions(values[:, 3:], place, topic.policy)
    made, more = make_stream(fields, topic, values, POSE, POSE_UNITS)
    return made, [*lines, *more]


def pose_noise(poses: Array | np.ndarray, covariance: Array) -> Array | None:
    """Turn covariances of x y z and rotations about the fixed axes (T, 36) into those of px .. qw, (T, 7, 7).

    To first order: q' = (r / 2, 1) q for a small rotation r, so dq = E(q) r / 2.
    """
    if noise(covariance.reshape(-1, 6, 6)) is None:
        return None
    turn = small_turns(np.asarray(poses[:, 3:], np.float64))
    full = np.zeros((len(turn), 7, 6))
    full[:, :3, :3] = np.eye(3)
    full[:, 3:, 3:] = np.nan_to_num(turn)
    return noise(full @ covariance.reshape(-1, 6, 6) @ full.transpose(0, 2, 1))


def small_turns(quaternions: Array) -> Array:
    """Derivative of quaternions (T, 4) by a rotation about the fixed axes, shape (T, 4, 3); its square is 1/4."""
    x, y, z, w = quaternions.T
    rows = [[w, z, -y], [-z, w, x], [y, -x, w], [-x, -y, -z]]
    return 0.5 * np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _vector(path: str, names: str, unit: str) -> Callable[[], Kind]:
    return lambda: numbers([f"{path}.{axis}" for axis in "xyz"], names.split(), [unit] * 3)


def _twist(path: str, covariance: str = "") -> Callable[[], Kind]:
    return lambda: numbers(twist_paths(path), TWIST, TWIST_UNITS, covariance)


#: Types of this file by name.
KINDS: dict[str, Callable[[], Kind]] = {
    "nav_msgs/msg/Odometry": odometry,
    "geometry_msgs/msg/Pose": lambda: pose("", stamped=False),
    "geometry_msgs/msg/PoseStamped": lambda: pose("pose."),
    "geometry_msgs/msg/PoseWithCovarianceStamped": lambda: pose("pose.pose.", "pose.covariance"),
    "geometry_msgs/msg/Twist": velocity,
    "geometry_msgs/msg/TwistStamped": _twist("twist."),
    "geometry_msgs/msg/TwistWithCovarianceStamped": _twist("twist.twist.", "twist.covariance"),
    "geometry_msgs/msg/Vector3Stamped": _vector("vector", "x y z", ""),
    "geometry_msgs/msg/PointStamped": _vector("point", "px py pz", "m"),
}
