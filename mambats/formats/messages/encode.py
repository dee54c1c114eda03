"""Streams to ROS 2 messages: the counterpart of what the readers make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mambats.formats.messages.draft import Words, draft
from mambats.formats.messages.layout import Definitions, Table
from mambats.formats.messages.motion import POSE, TWIST, pose_paths, small_turns, twist_paths
from mambats.formats.messages.sensors import per_metre
from mambats.formats.repair import Array
from mambats.series import FrameTree, ImageStream, RaggedStream, Stamps, Stream

IMU = ("wx", "wy", "wz", "ax", "ay", "az")
POINT_CODES = {"float32": 7, "float64": 8}
STARTS = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"RIFF": "webp", b"BM": "bmp"}


@dataclass(frozen=True)
class Lane:
    """Messages of one topic to write.

    Args:
        topic: Its name.
        type: Type of its messages.
        stamps: Log time of each, int64 nanoseconds, shape (n,).
        message: Makes the bytes of one.
    """

    topic: str
    type: str
    stamps: Stamps
    message: Callable[[int], bytes]


class Encoder:
    """Makes lanes of streams.

    Args:
        definitions: Types of ROS 2 by name.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions

    def imu(self, topic: str, stream: Stream, orientation: Stream | None) -> Lane:
        """sensor_msgs/Imu of `wx .. az`, with the orientation where it has the same clock."""
        table = self._table("sensor_msgs/msg/Imu", stream)
        parts = ("angular_velocity", "linear_acceleration")
        _fill(table, [f"{part}.{axis}" for part in parts for axis in "xyz"], stream.values)
        if stream.covariance is not None:
            table["angular_velocity_covariance"] = stream.covariance[..., :3, :3].reshape(-1, 9)
            table["linear_acceleration_covariance"] = stream.covariance[..., 3:, 3:].reshape(-1, 9)
        if orientation is None:
            table["orientation_covariance"][:, 0] = -1
        else:
            _fill(table, [f"orientation.{axis}" for axis in "xyzw"], np.nan_to_num(orientation.values))
        return _lane(topic, "sensor_msgs/msg/Imu", stream.stamps, table)

    def magnetic(self, topic: str, stream: Stream) -> Lane:
        """sensor_msgs/MagneticField of `mx my mz` [uT]."""
        table = self._table("sensor_msgs/msg/MagneticField", stream)
        _fill(table, [f"magnetic_field.{axis}" for axis in "xyz"], stream.values * 1e-6)
        if stream.covariance is not None:
            table["magnetic_field_covariance"] = (stream.covariance * 1e-12).reshape(-1, 9)
        return _lane(topic, "sensor_msgs/msg/MagneticField", stream.stamps, table)

    def position(self, topic: str, stream: Stream) -> Lane:
        """geometry_msgs/PointStamped of `px py pz`."""
        table = self._table("geometry_msgs/msg/PointStamped", stream)
        _fill(table, [f"point.{axis}" for axis in "xyz"], stream.values)
        return _lane(topic, "geometry_msgs/msg/PointStamped", stream.stamps, table)

    def satellite(self, topic: str, stream: Stream) -> Lane:
        """sensor_msgs/NavSatFix of `latitude longitude altitude`; rows without a place have no fix."""
        table = self._table("sensor_msgs/msg/NavSatFix", stream)
        _fill(table, ["latitude", "longitude", "altitude"], stream.values)
        table["status.status"] = np.where(np.isnan(stream.values[:, 0]), -1, 0)
        if stream.covariance is not None:
            back = np.linalg.inv(per_metre(np.asarray(stream.values[:, 0], np.float64)))
            table["position_covariance"] = (back @ stream.covariance @ back.transpose(0, 2, 1)).reshape(-1, 9)
            table["position_covariance_type"] = 3
        return _lane(topic, "sensor_msgs/msg/NavSatFix", stream.stamps, table)

    def pose(self, topic: str, stream: Stream) -> Lane:
        """geometry_msgs/PoseStamped, or PoseWithCovarianceStamped, of `px .. qw`."""
        name = "PoseStamped" if stream.covariance is None else "PoseWithCovarianceStamped"
        table = self._table(f"geometry_msgs/msg/{name}", stream)
        _fill(table, pose_paths("pose." if stream.covariance is None else "pose.pose."), stream.values)
        if stream.covariance is not None:
            table["pose.covariance"] = _turned(stream)
        return _lane(topic, f"geometry_msgs/msg/{name}", stream.stamps, table)

    def odometry(self, topic: str, pose: Stream, twist: Stream) -> Lane:
        """nav_msgs/Odometry of a pose and a velocity with the same clock."""
        table = self._table("nav_msgs/msg/Odometry", pose, {"child_frame_id": twist.frame})
        _fill(table, pose_paths("pose.pose."), pose.values)
        _fill(table, twist_paths("twist.twist."), twist.values)
        if pose.covariance is not None:
            table["pose.covariance"] = _turned(pose)
        if twist.covariance is not None:
            table["twist.covariance"] = twist.covariance.reshape(-1, 36)
        return _lane(topic, "nav_msgs/msg/Odometry", pose.stamps, table)

    def twist(self, topic: str, stream: Stream) -> Lane:
        """geometry_msgs/TwistStamped, or TwistWithCovarianceStamped, of `vx .. wz`."""
        name = "TwistStamped" if stream.covariance is None else "TwistWithCovarianceStamped"
        table = self._table(f"geometry_msgs/msg/{name}", stream)
        _fill(table, twist_paths("twist." if stream.covariance is None else "twist.twist."), stream.values)
        if stream.covariance is not None:
            table["twist.covariance"] = stream.covariance.reshape(-1, 36)
        return _lane(topic, f"geometry_msgs/msg/{name}", stream.stamps, table)

    def moving(self, child: str, stream: Stream) -> Lane:
        """tf2_msgs/TFMessage on `/tf`, one transform a message."""
        words = {"transforms": 1, "transforms.0.header.frame_id": stream.frame, "transforms.0.child_frame_id": child}
        table = draft(self.definitions, "tf2_msgs/msg/TFMessage", words, len(stream))
        _stamp(table, stream.stamps, "transforms.0.header")
        _fill(table, pose_paths("transforms.0.transform.", "translation", "rotation"), stream.values)
        return _lane("/tf", "tf2_msgs/msg/TFMessage", stream.stamps, table)

    def static(self, tree: FrameTree, stamp: int) -> Lane:
        """tf2_msgs/TFMessage on `/tf_static`, all transforms in one message."""
        words: dict[str, str | int] = {"transforms": len(tree.edges)}
        for number, edge in enumerate(tree.edges):
            words |= {f"transforms.{number}.header.frame_id": edge.parent}
            words |= {f"transforms.{number}.child_frame_id": edge.child}
        table = draft(self.definitions, "tf2_msgs/msg/TFMessage", words)
        stamps = np.array([stamp], np.int64)
        for number, edge in enumerate(tree.edges):
            path = f"transforms.{number}."
            _stamp(table, stamps, f"{path}header")
            values = np.array([[*edge.translation, *edge.quaternion]])
            _fill(table, pose_paths(f"{path}transform.", "translation", "rotation"), values)
        return _lane("/tf_static", "tf2_msgs/msg/TFMessage", stamps, table)

    def cloud(self, topic: str, stream: RaggedStream) -> Lane:
        """sensor_msgs/PointCloud2 of any channels, `x y z` among them; each has the type of the values."""
        name, code = "sensor_msgs/msg/PointCloud2", POINT_CODES[stream.values.dtype.name]
        size, width = stream.values.dtype.itemsize, len(stream.channels)
        words: dict[str, str | int] = {"header.frame_id": stream.frame, "fields": width}
        words |= {f"fields.{k}.name": channel for k, channel in enumerate(stream.channels)}

        def message(row: int) -> bytes:
            points = np.ascontiguousarray(stream.table(row)).view(np.uint8).reshape(-1)
            table = draft(self.definitions, name, {**words, "data": len(points)})
            _stamp(table, stream.stamps[row : row + 1])
            for k in range(width):
                for part, value in (("offset", k * size), ("datatype", code), ("count", 1)):
                    table[f"fields.{k}.{part}"] = value
            table["height"], table["width"], table["is_dense"] = 1, len(stream.table(row)), 1
            table["point_step"], table["row_step"] = width * size, len(points)
            table["data"] = points
            return table.tobytes()

        return Lane(topic, name, stream.stamps, message)

    def picture(self, topic: str, stream: ImageStream) -> Lane:
        """sensor_msgs/CompressedImage of encoded pictures, sensor_msgs/Image of arrays."""
        if any(isinstance(picture, np.ndarray) for picture in stream.pictures[:1]):
            return Lane(topic, "sensor_msgs/msg/Image", stream.stamps, lambda row: self._raw(stream, row))
        name = "sensor_msgs/msg/CompressedImage"

        def message(row: int) -> bytes:
            picture = stream.pictures[row]
            data = picture.read_bytes() if isinstance(picture, Path) else bytes(picture)
            form = next((word for start, word in STARTS.items() if data.startswith(start)), "")
            words = {"header.frame_id": stream.frame, "format": form, "data": len(data)}
            table = draft(self.definitions, name, words)
            _stamp(table, stream.stamps[row : row + 1])
            table["data"] = np.frombuffer(data, np.uint8)
            return table.tobytes()

        return Lane(topic, name, stream.stamps, message)

    def camera(self, topic: str, stream: ImageStream) -> Lane:
        """sensor_msgs/CameraInfo of an image stream that has intrinsics, once, at its first stamp."""
        words = {"header.frame_id": stream.frame, "distortion_model": "plumb_bob", "d": len(stream.distortion)}
        table = draft(self.definitions, "sensor_msgs/msg/CameraInfo", words)
        matrix = np.asarray(stream.intrinsics, np.float64)
        _stamp(table, stream.stamps[:1])
        picture = stream.image(0)
        table["height"], table["width"] = picture.shape[:2]
        table["k"], table["r"] = matrix.reshape(9), np.eye(3).reshape(9)
        table["p"] = np.concatenate([matrix, np.zeros((3, 1))], axis=1).reshape(12)
        if stream.distortion:
            table["d"] = stream.distortion
        return _lane(topic, "sensor_msgs/msg/CameraInfo", stream.stamps[:1], table)

    def _raw(self, stream: ImageStream, row: int) -> bytes:
        picture = stream.image(row)
        words = {"header.frame_id": stream.frame, "encoding": "mono8" if picture.ndim == 2 else "rgb8"}
        table = draft(self.definitions, "sensor_msgs/msg/Image", {**words, "data": picture.size})
        _stamp(table, stream.stamps[row : row + 1])
        table["height"], table["width"] = picture.shape[:2]
        table["step"] = picture.size // max(picture.shape[0], 1)
        table["data"] = picture.reshape(-1)
        return table.tobytes()

    def _table(self, name: str, stream: Stream, words: Words | None = None) -> Table:
        table = draft(self.definitions, name, {"header.frame_id": stream.frame, **(words or {})}, len(stream))
        _stamp(table, stream.stamps)
        return table


def same_clock(stream: Stream, other: Stream | None, channels: Sequence[str]) -> Stream | None:
    """Return the other stream if it has these channels and the clock of the first."""
    fits = other is not None and other.channels == tuple(channels) and np.array_equal(other.stamps, stream.stamps)
    return other if fits else None


def partner(streams: Mapping[str, Stream], name: str) -> Stream | None:
    """Return the stream that belongs in the same message: orientation of an IMU, velocity of a pose."""
    stream = streams[name]
    if stream.channels == IMU:
        return same_clock(stream, streams.get(f"{name}/orientation"), POSE[3:])
    return same_clock(stream, streams.get(f"{name}/twist"), TWIST) if stream.channels == POSE else None


def _lane(topic: str, name: str, stamps: Stamps, table: Table) -> Lane:
    data, size = table.tobytes(), table.dtype.itemsize
    return Lane(topic, name, stamps, lambda row: data[row * size : (row + 1) * size])


def _stamp(table: Table, stamps: Stamps, path: str = "header") -> None:
    table[f"{path}.stamp.sec"], table[f"{path}.stamp.nanosec"] = stamps // 10**9, stamps % 10**9


def _fill(table: Table, paths: Sequence[str], values: np.ndarray[Any, Any]) -> None:
    for column, path in enumerate(paths):
        table[path] = values[:, column]


def _turned(stream: Stream) -> Array:
    """Turn covariances of px .. qw into those of x y z and rotations about the fixed axes, shape (T, 36)."""
    turn = np.nan_to_num(small_turns(np.asarray(stream.values[:, 3:], np.float64)))
    back = np.zeros((len(turn), 6, 7))
    back[:, :3, :3] = np.eye(3)
    # The derivative's square is 1/4, so four times its transpose is its inverse.
    back[:, 3:, 3:] = 4 * turn.transpose(0, 2, 1)
    return (back @ np.asarray(stream.covariance, np.float64) @ back.transpose(0, 2, 1)).reshape(-1, 36)
