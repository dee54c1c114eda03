"""Bags for tests, written by rosbags and mcap_ros2: other hands than those that read them."""

from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

ROS2, ROS1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)
ROS1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", "tf2_msgs/msg/TFMessage"))
START = 1_700_000_000_000_000_000


class Ros:
    """Messages of one version of ROS."""

    def __init__(self, version):
        self.version = version
        self.store = ROS1 if version == 1 else ROS2
        self.types = self.store.types

    def new(self, name, /, **fields):
        return self.types[name](**fields)

    def header(self, stamp, frame="imu_link"):
        time = self.new("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
        extra = {"seq": 7} if self.version == 1 else {}
        return self.new("std_msgs/msg/Header", stamp=time, frame_id=frame, **extra)

    def vector(self, x, y, z):
        return self.new("geometry_msgs/msg/Vector3", x=float(x), y=float(y), z=float(z))

    def turn(self, x=0.0, y=0.0, z=0.0, w=1.0):
        return self.new("geometry_msgs/msg/Quaternion", x=float(x), y=float(y), z=float(z), w=float(w))

    def imu(self, stamp, row, turn=None, noise=0.0, frame="imu_link"):
        none = np.zeros(9)
        none[0] = -1
        return self.new(
            "sensor_msgs/msg/Imu",
            header=self.header(stamp, frame),
            orientation=turn or self.turn(0, 0, 0, 0),
            orientation_covariance=np.zeros(9) if turn else none,
            angular_velocity=self.vector(*row[:3]),
            angular_velocity_covariance=np.eye(3).ravel() * noise,
            linear_acceleration=self.vector(*row[3:]),
            linear_acceleration_covariance=np.eye(3).ravel() * noise * 2,
        )

    def fix(self, stamp, place, status=0, covariance=None):
        extra = np.zeros(9) if covariance is None else covariance
        return self.new(
            "sensor_msgs/msg/NavSatFix",
            header=self.header(stamp, "gps"),
            status=self.new("sensor_msgs/msg/NavSatStatus", status=status, service=1),
            latitude=place[0],
            longitude=place[1],
            altitude=place[2],
            position_covariance=extra,
            position_covariance_type=0 if covariance is None else 2,
        )

    def pose(self, place, turn):
        point = self.new("geometry_msgs/msg/Point", x=float(place[0]), y=float(place[1]), z=float(place[2]))
        return self.new("geometry_msgs/msg/Pose", position=point, orientation=turn)

    def odometry(self, stamp, place, turn, noise):
        twist = self.new("geometry_msgs/msg/Twist", linear=self.vector(1, 2, 3), angular=self.vector(4, 5, 6))
        return self.new(
            "nav_msgs/msg/Odometry",
            header=self.header(stamp, "odom"),
            child_frame_id="base_link",
            pose=self.new(
                "geometry_msgs/msg/PoseWithCovariance", pose=self.pose(place, turn), covariance=noise.ravel()
            ),
            twist=self.new("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.eye(6).ravel()),
        )

    def transforms(self, *edges):
        made = [
            self.new(
                "geometry_msgs/msg/TransformStamped",
                header=self.header(stamp, parent),
                child_frame_id=child,
                transform=self.new(
                    "geometry_msgs/msg/Transform", translation=self.vector(*place), rotation=self.turn()
                ),
            )
            for stamp, parent, child, place in edges
        ]
        return self.new("tf2_msgs/msg/TFMessage", transforms=made)

    def cloud(self, stamp, points, names="xyz", codes=None):
        """Points: a structured array with its own offsets."""
        fields = [
            self.new(
                "sensor_msgs/msg/PointField", name=name, offset=points.dtype.fields[name][1], datatype=code, count=1
            )
            for name, code in zip(points.dtype.names, codes, strict=True)
        ]
        return self.new(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(stamp, "lidar"),
            height=1,
            width=len(points),
            fields=fields,
            is_bigendian=False,
            point_step=points.dtype.itemsize,
            row_step=points.dtype.itemsize * len(points),
            data=points.view(np.uint8).reshape(-1),
            is_dense=True,
        )

    def write(self, path: Path, messages, storage="mcap"):
        """Write (topic, type, log time, message) in this order."""
        if self.version == 1:
            writer = Writer1(path)
        else:
            plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
            writer = Writer2(path, version=8, storage_plugin=plugin)
        with writer:
            topics = {}
            for topic, name, log, message in messages:
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, name, typestore=self.store)
                pack = self.store.serialize_ros1 if self.version == 1 else self.store.serialize_cdr
                writer.write(topics[topic], log, bytes(pack(message, name)))
        return path
