"""How fast are bags read, beside rosbags' own decoding and mcap_ros2's?

python datasets/bench_bags.py [--messages 100000] [--folder FOLDER]

Messages are decoded into streams (ours) or message objects (theirs); processor time of one thread, the best of
several runs (so that other work on the machine counts little). Each file holds
one topic: IMU messages at 1 kHz, odometry, LiDAR sweeps of 20,000 points. Written by our own writer, ROS 1 by rosbags.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from mambats.formats.bags import read_bag, write_mcap
from mambats.formats.store import open_recording, save_recording
from mambats.series import RaggedStream, Recording, Stream

START = 1_700_000_000_000_000_000
IMU = ("wx", "wy", "wz", "ax", "ay", "az")
POSE, TWIST = ("px", "py", "pz", "qx", "qy", "qz", "qw"), ("vx", "vy", "vz", "wx", "wy", "wz")
POINTS = 20_000


def clock(rows, step=10**6):
    return START + np.arange(rows, dtype=np.int64) * step


def inertial(rows):
    values = np.random.default_rng(0).normal(size=(rows, 6))
    return Recording("imu", {"imu": Stream(clock(rows), values, IMU, None, "", "imu_link", np.eye(6))})


def odometry(rows):
    random = np.random.default_rng(0)
    poses = np.hstack([random.normal(size=(rows, 3)), np.tile([0.0, 0, 0, 1], (rows, 1))])
    twist = Stream(clock(rows), random.normal(size=(rows, 6)), TWIST, None, "", "base_link")
    return Recording("odom", {"odom": Stream(clock(rows), poses, POSE, None, "", "odom"), "odom/twist": twist})


def sweeps(rows):
    points = np.random.default_rng(0).normal(size=(rows * POINTS, 5)).astype(np.float32)
    splits = np.arange(rows + 1, dtype=np.int64) * POINTS
    channels = ("x", "y", "z", "intensity", "t")
    return Recording("lidar", {}, ragged={"lidar": RaggedStream(clock(rows, 10**8), splits, points, channels, "m")})


def to_ros1(source, path):
    """Copy an MCAP of IMU messages into a ROS 1 bag."""
    store, old = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
    with AnyReader([source]) as reader, Writer1(path) as writer:
        topic = writer.add_connection("/imu", "sensor_msgs/msg/Imu", typestore=store)
        for _, stamp, raw in reader.messages():
            writer.write(topic, stamp, _ros1(store, old, raw))
    return path


def _ros1(store, old, raw):
    message = old.deserialize_cdr(raw, "sensor_msgs/msg/Imu")
    types = store.types
    time_ = types["builtin_interfaces/msg/Time"](message.header.stamp.sec, message.header.stamp.nanosec)
    header = types["std_msgs/msg/Header"](0, time_, message.header.frame_id)
    parts = [getattr(message, name) for name in message.__dataclass_fields__ if name not in ("header", "__msgtype__")]
    return bytes(store.serialize_ros1(types["sensor_msgs/msg/Imu"](header, *parts), "sensor_msgs/msg/Imu"))


def theirs(path):
    with AnyReader([path]) as reader:
        return sum(1 for c, _, raw in reader.messages() if reader.deserialize(raw, c.msgtype))


def foxglove(path):
    from mcap_ros2.reader import read_ros2_messages

    return sum(1 for item in read_ros2_messages(str(path)) if item.ros_msg)


def best(read, path, runs):
    times = []
    for _ in range(runs):
        start = time.process_time()
        read(path)
        times.append(time.process_time() - start)
    return min(times)


def row(name, path, count, runs):
    size = path.stat().st_size / 1e6
    cells = [("mambats", read_bag, runs), ("rosbags", theirs, 1 + runs // 3)]
    cells += [("mcap_ros2", foxglove, 1)] if path.suffix == ".mcap" else []
    for reader, read, many in cells:
        seconds = best(read, path, many)
        print(f"{name:<22}{reader:<11}{count / seconds:>12,.0f} messages/s{size / seconds:>10.1f} MB/s of the file")


def store(rows, folder):
    recording = inertial(rows)
    size = rows * 56 / 1e6
    start = time.process_time()
    save_recording(recording, folder / "saved")
    saving = time.process_time() - start
    opening = best(lambda path: open_recording(path, verify=False), folder / "saved", 5)
    verified = best(lambda path: open_recording(path, verify=True), folder / "saved", 3)
    print(f"saved recording, {rows:,} rows, {size:.0f} MB: saved {size / saving:,.0f} MB/s with sha256, opened in "
          f"{1e3 * opening:.2f} ms ({1e3 * verified:.0f} ms with every sha256)")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files are made; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as held:
        folder = Path(held)
        clouds = max(given.messages // 1000, 2)
        for name, recording, count in (
            ("IMU, MCAP", inertial(given.messages), given.messages),
            ("odometry, MCAP", odometry(given.messages // 2), given.messages // 2),
            ("20,000 points, MCAP", sweeps(clouds), clouds),
        ):
            path = folder / f"{recording.name}.mcap"
            start = time.process_time()
            write_mcap(recording, path)
            seconds = time.process_time() - start
            print(f"{name:<22}{'written':<11}{count / seconds:>12,.0f} messages/s")
            row(name, path, count, given.runs)
        row("IMU, ROS 1", to_ros1(folder / "imu.mcap", folder / "imu.bag"), given.messages, given.runs)
        store(1_000_000, folder)


if __name__ == "__main__":
    main()
