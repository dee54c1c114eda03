"""MCAP files: what is written comes back, and rosbags reads every message of it."""

import io

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from PIL import Image
from rosbags.highlevel import AnyReader

from mambats.formats.bags import read_bag, write_mcap
from mambats.formats.error import DataError
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid, Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")
POSE_UNITS = ("m", "m", "m", "", "", "", "")
TWIST = ("vx", "vy", "vz", "wx", "wy", "wz")
TWIST_UNITS = ("m/s",) * 3 + ("rad/s",) * 3
IMU = ("wx", "wy", "wz", "ax", "ay", "az")
IMU_UNITS = ("rad/s",) * 3 + ("m/s^2",) * 3
START = 1_700_000_000_123_456_789


def clock(rows, step=10**7):
    return START + np.arange(rows, dtype=np.int64) * step


def spread(random, rows, width):
    root = random.normal(size=(rows, width, width)) * 0.1
    return root @ root.transpose(0, 2, 1)


def blocks(first, second):
    made = np.zeros((6, 6))
    made[:3, :3], made[3:, 3:] = first, second
    return made


def turns(random, rows):
    made = random.normal(size=(rows, 4))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def poses(random, rows, frame="odom", covariance=None):
    values = np.hstack([random.normal(size=(rows, 3)), turns(random, rows)])
    return Stream(clock(rows), values, POSE, None, POSE_UNITS, frame, covariance)


def png(random):
    held = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (4, 6, 3), dtype=np.uint8)).save(held, "png")
    return held.getvalue()


def everything(seed=0):
    random = np.random.default_rng(seed)
    inertial = random.normal(size=(20, 6))
    inertial[3] = np.nan
    observed = np.isfinite(inertial)
    noise = blocks(np.eye(3) * 0.1, np.eye(3))
    places = np.column_stack([random.uniform(-80, 80, 5), random.uniform(-180, 180, 5), random.uniform(0, 99, 5)])
    places[2] = np.nan
    stretch = np.array([1e-5, 1e-5, 1])[:, None] * np.array([1e-5, 1e-5, 1])
    streams = {
        "imu": Stream(clock(20), inertial, IMU, observed, IMU_UNITS, "imu_link", noise),
        "imu/orientation": Stream(clock(20), turns(random, 20), POSE[3:], None, ("",) * 4, "imu_link"),
        "mag": Stream(
            clock(4), random.normal(size=(4, 3)), ("mx", "my", "mz"), None, ("uT",) * 3, "imu_link", np.eye(3)
        ),
        "gnss/fix": Stream(
            clock(5),
            places,
            ("latitude", "longitude", "altitude"),
            np.isfinite(places),
            ("deg", "deg", "m"),
            "gps",
            spread(random, 5, 3) * stretch,
        ),
        "odom": poses(random, 6),
        "odom/twist": Stream(
            clock(6), random.normal(size=(6, 6)), TWIST, None, TWIST_UNITS, "base_link", spread(random, 6, 6)
        ),
        "target": poses(random, 3, "map"),
        "place": Stream(clock(3), random.normal(size=(3, 3)), POSE[:3], None, "m", "map"),
        "speed": Stream(clock(7), random.normal(size=(7, 6)), TWIST, None, TWIST_UNITS, "base_link"),
        "tf/base_link": poses(random, 8, "map"),
    }
    cloud = random.normal(size=(9, 5)).astype(np.float32)
    splits = np.array([0, 4, 4, 9])
    lidar = RaggedStream(clock(3), splits, cloud, ("x", "y", "z", "ring", "t"), ("m", "m", "m", "", "s"), "lidar")
    camera = np.array([[300.0, 0, 3], [0, 300, 2], [0, 0, 1]])
    images = {
        "cam0/image": ImageStream(clock(2), [png(random), png(random)], "cam0", camera, (0.1, -0.2, 0.0, 0.0)),
        "cam1": ImageStream(clock(2), list(random.integers(0, 255, (2, 4, 6, 3), dtype=np.uint8)), "cam1"),
        "grey": ImageStream(clock(1), list(random.integers(0, 255, (1, 4, 6), dtype=np.uint8)), "cam2"),
    }
    tree = FrameTree(
        (Rigid("base_link", "imu_link", (0, 0, 0.1)), Rigid("base_link", "lidar", (1, 0, 0), (0, 0, 1, 0)))
    )
    return Recording("all", streams, {}, {"points": lidar}, images, tree, {"pose": poses(random, 4, "map")})


def same(one, other):
    np.testing.assert_array_equal(one.stamps, other.stamps)
    # Tesla and back, and covariances through Jacobians, round.
    np.testing.assert_allclose(other.values, one.values, rtol=1e-14)
    assert (one.channels, one.units, one.frame) == (other.channels, other.units, other.frame)
    assert (one.observed is None) == (other.observed is None)
    assert one.observed is None or (one.observed == other.observed).all()


def test_everything_comes_back(tmp_path):
    made = everything()
    assert write_mcap(made, tmp_path / "all.mcap") == ()
    back = read_bag(tmp_path / "all.mcap")
    for name, stream in made.streams.items():
        same(stream, back.streams[name])
    same(made.truth["pose"], back.truth["pose"])
    assert len(back.streams) == len(made.streams) and len(back.truth) == len(made.truth)
    np.testing.assert_allclose(back.streams["imu"].covariance, made.streams["imu"].covariance)
    np.testing.assert_allclose(back.streams["mag"].covariance, np.eye(3))
    np.testing.assert_allclose(back.streams["odom/twist"].covariance, made.streams["odom/twist"].covariance)
    rows = [0, 1, 3, 4]  # row 2 has no place, so metres are no degrees there
    fix = [one.streams["gnss/fix"].covariance[rows] for one in (made, back)]
    np.testing.assert_allclose(fix[1], fix[0], rtol=1e-9, atol=1e-22)
    lidar = back.ragged["points"]
    np.testing.assert_array_equal(lidar.values, made.ragged["points"].values)
    np.testing.assert_array_equal(lidar.splits, made.ragged["points"].splits)
    assert lidar.channels == made.ragged["points"].channels and lidar.values.dtype == np.float32
    for name, stream in made.images.items():
        for row in range(len(stream)):
            np.testing.assert_array_equal(back.images[name].image(row), stream.image(row))
    np.testing.assert_array_equal(back.images["cam0/image"].intrinsics, made.images["cam0/image"].intrinsics)
    assert back.images["cam0/image"].distortion == (0.1, -0.2, 0.0, 0.0)
    assert back.frames == made.frames
    # Rows that were not measured are all that is reported.
    assert [line.partition(": ")[0].split()[-1] for line in back.repairs] == ["/imu", "/gnss/fix"]


def test_noise_of_poses_comes_back(tmp_path):
    random = np.random.default_rng(1)
    first = Recording("noise", {"pose": poses(random, 5, "map", np.eye(7))})
    write_mcap(first, tmp_path / "a.mcap")
    once = read_bag(tmp_path / "a.mcap")
    write_mcap(once, tmp_path / "b.mcap")
    again = read_bag(tmp_path / "b.mcap")
    # The part along the quaternion itself is no rotation and is lost the first time only.
    np.testing.assert_allclose(again.streams["pose"].covariance, once.streams["pose"].covariance, atol=1e-14)
    np.testing.assert_allclose(once.streams["pose"].covariance[:, :3, :3], [np.eye(3)] * 5)
    along = once.streams["pose"].values[:, 3:]
    assert np.abs(np.einsum("tij,tj->ti", once.streams["pose"].covariance[:, 3:, 3:], along)).max() < 1e-14


def test_rosbags_reads_every_message(tmp_path):
    made = everything()
    write_mcap(made, tmp_path / "all.mcap")
    counts, logs, forces = {}, [], []
    with AnyReader([tmp_path / "all.mcap"]) as reader:
        for connection, log, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            counts[connection.topic] = counts.get(connection.topic, 0) + 1
            logs.append(log)
            if connection.topic == "/imu":
                forces.append([getattr(message.linear_acceleration, axis) for axis in "xyz"])
    np.testing.assert_array_equal(forces, made.streams["imu"].values[:, 3:])
    assert logs == sorted(logs)
    assert counts == {
        "/tf_static": 1, "/imu": 20, "/mag": 4, "/gnss/fix": 5, "/odom": 6, "/target": 3, "/place": 3, "/speed": 7,
        "/tf": 8, "/truth/pose": 4, "/points": 3, "/cam0/image": 2, "/cam0/camera_info": 1, "/cam1": 2, "/grey": 1,
    }  # fmt: skip


def test_foxglove_s_own_packages_read_every_message(tmp_path):
    made = everything()
    write_mcap(made, tmp_path / "all.mcap")
    with (tmp_path / "all.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()], validate_crcs=True)
        found = [(channel.topic, message) for _, channel, _, message in reader.iter_decoded_messages()]
        assert reader.get_summary().statistics.message_count == len(found) == 70
    rates = [[message.angular_velocity.x, message.angular_velocity.y] for topic, message in found if topic == "/imu"]
    np.testing.assert_array_equal(rates, made.streams["imu"].values[:, :2])
    [static] = [message for topic, message in found if topic == "/tf_static"]
    assert [edge.child_frame_id for edge in static.transforms] == ["imu_link", "lidar"]


def test_what_ros_has_no_message_for_is_said(tmp_path):
    level = Stream(clock(3), np.ones((3, 1)), ("level",))
    boxes = RaggedStream(clock(1), np.array([0, 1]), np.ones((1, 2)), ("left", "class"), labels={"class": ("a", "b")})
    made = Recording("odd", {"tank": level, "pose": poses(np.random.default_rng(0), 2)}, ragged={"boxes": boxes})
    lines = write_mcap(made, tmp_path / "odd.mcap")
    assert len(lines) == 2 and lines[0].startswith("tank: ROS has no message of level")
    with pytest.raises(DataError, match="odd: ROS has messages for none of its streams"):
        write_mcap(Recording("odd", {"tank": level}), tmp_path / "none.mcap")
    assert not (tmp_path / "none.mcap").exists()
    tree = FrameTree((Rigid("base_link", "imu"),))
    with pytest.raises(DataError, match="none of its streams"):
        write_mcap(Recording("odd", {"tank": level}, frames=tree), tmp_path / "none.mcap")


def test_stamps_that_no_header_holds_are_refused(tmp_path):
    early = Stream(np.array([-5, 0]), np.zeros((2, 3)), ("mx", "my", "mz"))
    with pytest.raises(DataError, match=r"early, /mag: stamps go from -5 to 0 ns, a ROS header holds"):
        write_mcap(Recording("early", {"mag": early}), tmp_path / "early.mcap")
