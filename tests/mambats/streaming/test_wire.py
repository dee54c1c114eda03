"""Bytes of strangers: every message ends as a packet or as an error that says why."""

import json
import math
import random

import numpy as np
import pytest

from mambats.formats.error import DataError
from mambats.streaming import Packet, PacketError, Policy, StreamRunner
from mambats.streaming.sources.inbox import Inbox
from mambats.streaming.sources.ros_wire import FIELDS
from mambats.streaming.sources.wire import LARGEST, Wire
from tests.mambats.streaming.toy import Leaky

STREAMS = {"imu": 6, "gnss": 3}
IMU = "sensor_msgs/msg/Imu"


def said(**changes):
    whole = {"stamp_ns": 5, "values": [1, 2.5, None], "sequence": 7, "row": 2} | changes
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def cdr(ros_type=IMU, **fields):
    typesys = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed: ROS messages are not tested")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](12, 34), "base")
    return store.serialize_cdr(types[ros_type](header, **{n: f(types) for n, f in fields.items()}), ros_type)


def imu_message():
    return cdr(
        orientation=lambda types: types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        orientation_covariance=lambda types: np.zeros(9),
        angular_velocity=lambda types: types["geometry_msgs/msg/Vector3"](1.0, 2.0, 3.0),
        angular_velocity_covariance=lambda types: np.zeros(9),
        linear_acceleration=lambda types: types["geometry_msgs/msg/Vector3"](4.0, 5.0, 6.0),
        linear_acceleration_covariance=lambda types: np.zeros(9),
    )


def test_json_is_a_packet():
    found = Wire(STREAMS).packet("robot/gnss", said())
    assert (found.stream, found.stamp_ns, found.row, found.sequence) == ("gnss", 5, 2, 7)
    assert found.values.dtype == np.float32 and found.values[:2].tolist() == [1, 2.5] and math.isnan(found.values[2])
    assert Wire(STREAMS).packet("any", said(stream="gnss", row=..., sequence=...)).sequence is None
    assert Wire(STREAMS, {"fix": "gnss"}).packet("fix", said()).stream == "gnss"


def test_cdr_is_a_packet():
    found = Wire(STREAMS).packet("imu", imu_message(), IMU)
    assert found.stamp_ns == 12_000_000_034 and found.values.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("topic", "body", "words"),
    [
        ("gnss", b"{", "is not JSON"),
        ("gnss", b"[" * 200_000, "is not JSON"),
        ("gnss", b"\xff\xfe\x00", "is not JSON"),
        ("gnss", b"[1]", "need an object"),
        ("gnss", said(extra=1), "need an object"),
        ("gnss", said(stamp_ns=1.5), "stamp_ns is 1.5"),
        ("gnss", said(stamp_ns=2**63), "64 bits"),
        ("gnss", said(stamp_ns=True), "stamp_ns is True"),
        ("gnss", said(row="0"), "row is '0'"),
        ("gnss", said(values=[1, 2]), "has 2 values, the stream has 3"),
        ("gnss", said(values="abc"), "has str"),
        ("gnss", said(values=[1, "2", 3]), "need numbers"),
        ("gnss", said(values=[1, 10**400, 3]), "beyond float64"),
        ("lidar", said(), "belongs to none of the streams"),
        ("any", said(stream="lidar"), "is of stream 'lidar'"),
        ("any", said(stream=["x" * 1000]), "is of stream"),
        ("gnss", b" " * (LARGEST + 1), "at most 1048576"),
    ],
)
def test_what_is_wrong_is_said(topic, body, words):
    found = Wire(STREAMS).packet(topic, body)
    assert isinstance(found, DataError) and words in str(found) and len(str(found)) < 400


def test_a_type_is_read_by_the_width_of_the_stream():
    found = Wire({"imu": 5}).packet("imu", imu_message(), IMU)
    assert isinstance(found, DataError) and "there is [6]" in str(found)
    found = Wire(STREAMS).packet("imu", imu_message(), "std_msgs/msg/String")
    assert isinstance(found, DataError) and "sensor_msgs/msg/Imu" in str(found)
    assert all(len({len(paths) for paths in choices}) == len(choices) for choices in FIELDS.values())


def mutated(body, random_):
    changed = bytearray(body)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(changed) + 1)
        match random_.randrange(3):
            case 0:
                changed[at : at + 1] = bytes([random_.randrange(256)])
            case 1:
                del changed[at : at + random_.randint(1, 20)]
            case _:
                changed[at:at] = random_.randbytes(random_.randint(1, 8))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["json", "cdr", "boxes"])
def test_10_000_mutated_messages_are_all_accounted_for(kind):
    random_ = random.Random(5)
    topic, streams = ("detections", {"detections": 1 + 8 * 3}) if kind == "boxes" else ("imu", STREAMS)
    numbers = {"values": [0.5] * 6}
    if kind == "boxes":
        numbers = {"boxes": [[1.5, 2, 0, 4, 2, 1.5, 0.1, 7]] * 2, "values": ...}
    body = imu_message() if kind == "cdr" else said(**numbers, row=0)
    wire = Wire(streams)
    runner = StreamRunner(Leaky(streams), Policy(queue_size=100))
    errors = refused = 0
    for _ in range(10_000):
        found = wire.packet(topic, mutated(body, random_), IMU if kind == "cdr" else None)
        if isinstance(found, DataError):
            errors += 1
            continue
        try:
            runner.push(*found)
        except PacketError:
            refused += 1
    table = runner.counters.table()
    assert 100 < errors < 10_000 and errors + table["received"] == 10_000
    assert runner.counters.balanced() and table["rejected"] >= refused


def test_what_falls_out_of_a_full_inbox_is_told():
    inbox = Inbox(room=3)
    for k in range(8):
        inbox.put(Packet("imu", k, np.zeros(6, np.float32)))
    inbox.close()
    found = list(inbox)
    assert [item.stamp_ns for item in found if isinstance(item, Packet)] == [5, 6, 7]
    assert sum(isinstance(item, DataError) for item in found) == 5
    with pytest.raises(ValueError, match="room is 0"):
        Inbox(0)
