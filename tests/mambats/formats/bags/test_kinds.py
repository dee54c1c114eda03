"""Types of messages that are not in every bag: scans, joints, pictures, cameras, scalars."""

import numpy as np
import pytest

from mambats.formats.bags import read_bag
from mambats.formats.error import DataError
from mambats.formats.repair import REPAIR
from tests.mambats.formats.bags.ros_files import START, Ros


@pytest.fixture(params=[1, 2], ids=["ros1", "ros2"])
def ros(request, tmp_path):
    made = Ros(request.param)
    made.read = lambda messages, *rest: read_bag(made.write(tmp_path / "some.bag", messages), *rest)
    return made


def send(ros, topic, name, *fields):
    """Messages of one type, a millisecond apart."""
    made = []
    for k, own in enumerate(fields):
        stamp = START + k * 10**6
        made.append((topic, name, stamp, ros.new(name, header=ros.header(stamp, "sensor"), **own)))
    return made


def test_a_laser_scan_is_its_returns(ros):
    ranges = np.array([1.0, np.inf, 2.0, 50.0], np.float32)
    scan = {
        "angle_min": 0.0, "angle_max": 3 * np.pi / 2, "angle_increment": np.pi / 2, "time_increment": 0.01,
        "scan_time": 0.1, "range_min": 0.1, "range_max": 30.0, "ranges": ranges, "intensities": np.zeros(0, np.float32),
    }  # fmt: skip
    made = ros.read(send(ros, "/scan", "sensor_msgs/msg/LaserScan", scan, scan))
    lidar = made.ragged["scan"]
    assert lidar.channels == ("x", "y", "z", "intensity", "t") and lidar.units == ("m", "m", "m", "", "s")
    np.testing.assert_allclose(lidar.table(1), [[1, 0, 0, 0, 0], [-2, 0, 0, 0, 0.02]], atol=1e-6)
    assert "4 of 8 points without a return" in made.repairs[0]


def test_joints_that_are_published_together_are_a_stream(ros):
    def state(names, position, velocity=()):
        parts = {"position": position, "velocity": velocity, "effort": ()}
        return {"name": names, **{name: np.array(part, np.float64) for name, part in parts.items()}}

    arm, hand = ["shoulder", "elbow"], ["finger"]
    messages = send(
        ros, "/joint_states", "sensor_msgs/msg/JointState",
        state(arm, [1, 2], [3, 4]), state(hand, [5]), state(arm, [6, 7], [8, 9]), state([], []),
    )  # fmt: skip
    made = ros.read(messages)
    first, second = made.streams["joint_states"], made.streams["joint_states/1"]
    assert first.channels == ("shoulder_position", "elbow_position", "shoulder_velocity", "elbow_velocity")
    np.testing.assert_array_equal(first.values, [[1, 2, 3, 4], [6, 7, 8, 9]])
    assert (second.channels, second.values.tolist()) == (("finger_position",), [[5.0]])
    assert "1 messages without a joint, left out" in made.repairs[0]


def picture(encoding, array, step=None):
    rows = array.reshape(array.shape[0], -1).view(np.uint8)
    padded = np.zeros((len(rows), step or rows.shape[1]), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return {
        "height": array.shape[0], "width": array.shape[1], "encoding": encoding, "is_bigendian": 0,
        "step": padded.shape[1], "data": padded.reshape(-1),
    }  # fmt: skip


def test_pictures_are_rgb_whatever_their_order_and_padding(ros):
    rgb = np.random.default_rng(0).integers(0, 255, (3, 5, 3), dtype=np.uint8)
    alpha = np.concatenate([rgb, np.full((3, 5, 1), 9, np.uint8)], axis=2)
    messages = send(
        ros, "/camera/image_raw", "sensor_msgs/msg/Image",
        picture("rgb8", rgb), picture("bgr8", rgb[:, :, ::-1].copy(), step=20), picture("rgba8", alpha),
        picture("16UC1", np.ones((3, 5), np.uint16)), picture("mono8", rgb[:, :, 0].copy()),
    )  # fmt: skip
    made = ros.read(messages)
    camera = made.images["camera/image_raw"]
    for row in range(3):
        np.testing.assert_array_equal(camera.image(row), rgb)
    np.testing.assert_array_equal(camera.image(3), rgb[:, :, 0])
    assert camera.stamps[3] == START + 4 * 10**6 and camera.frame == "sensor"
    assert "1 pictures of encoding '16UC1', which is not read" in made.repairs[0]


def info(ros, model="plumb_bob", k=300.0):
    small = ("d", "k", "r", "p") if ros.version == 2 else ("D", "K", "R", "P")
    matrix = np.array([[k, 0, 2], [0, k, 1], [0, 0, 1.0]])
    straight = np.hstack([matrix * 2, np.zeros((3, 1))])
    numbers = dict(
        zip(small, [np.array([0.1, 0.2, 0, 0, 0]), matrix.ravel(), np.eye(3).ravel(), straight.ravel()], strict=True)
    )
    roi = ros.new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return {"height": 3, "width": 5, "distortion_model": model, "binning_x": 0, "binning_y": 0, "roi": roi, **numbers}


def test_a_camera_is_found_beside_its_pictures(ros):
    grey = np.zeros((3, 5), np.uint8)
    messages = [
        *send(ros, "/cam0/camera_info", "sensor_msgs/msg/CameraInfo", info(ros)),
        *send(ros, "/cam0/image_raw", "sensor_msgs/msg/Image", picture("mono8", grey)),
        *send(ros, "/cam0/image_rect", "sensor_msgs/msg/Image", picture("mono8", grey)),
        *send(ros, "/cam1/camera_info", "sensor_msgs/msg/CameraInfo", info(ros, "equidistant")),
        *send(ros, "/cam1/image_raw", "sensor_msgs/msg/Image", picture("mono8", grey)),
        *send(ros, "/other", "sensor_msgs/msg/Image", picture("mono8", grey)),
    ]
    made = ros.read(messages)
    raw, rect = made.images["cam0/image_raw"], made.images["cam0/image_rect"]
    assert raw.intrinsics[0, 0] == 300 and raw.distortion == (0.1, 0.2, 0, 0, 0)
    assert rect.intrinsics[0, 0] == 600 and rect.distortion == ()
    assert made.images["cam1/image_raw"].distortion == () and made.images["other"].intrinsics is None
    assert made.repairs == (
        "some.bag, topic /cam1/camera_info: distortion model 'equidistant' is not plumb_bob and is left out",
    )


def test_scalars_have_units_and_variances(ros):
    messages = [
        *send(
            ros,
            "/baro",
            "sensor_msgs/msg/FluidPressure",
            *[{"fluid_pressure": 1e5 + k, "variance": 4.0} for k in range(3)],
        ),
        *send(ros, "/temperature", "sensor_msgs/msg/Temperature", {"temperature": 21.5, "variance": 0.0}),
    ]
    made = ros.read(messages)
    baro, temperature = made.streams["baro"], made.streams["temperature"]
    assert (baro.channels, baro.units, baro.covariance.tolist()) == (("pressure",), ("Pa",), [[4.0]])
    np.testing.assert_array_equal(baro.values[:, 0], [1e5, 1e5 + 1, 1e5 + 2])
    assert temperature.units == ("degC",) and temperature.covariance is None


def test_poses_twists_and_points(ros):
    frame = {"pose": ros.pose((1, 2, 3), ros.turn(0, 0, 1, 0))}
    point = {"point": ros.new("geometry_msgs/msg/Point", x=4.0, y=5.0, z=6.0)}
    twist = {"twist": ros.new("geometry_msgs/msg/Twist", linear=ros.vector(1, 2, 3), angular=ros.vector(4, 5, 6))}
    made = ros.read([
        *send(ros, "/goal", "geometry_msgs/msg/PoseStamped", frame),
        *send(ros, "/beacon", "geometry_msgs/msg/PointStamped", point),
        *send(ros, "/speed", "geometry_msgs/msg/TwistStamped", twist),
    ])  # fmt: skip
    assert made.streams["goal"].values.tolist() == [[1, 2, 3, 0, 0, 1, 0]]
    assert made.streams["beacon"].values.tolist() == [[4, 5, 6]]
    assert made.streams["speed"].channels == ("vx", "vy", "vz", "wx", "wy", "wz")
    assert {stream.frame for stream in made.streams.values()} == {"sensor"}


def test_a_frame_with_two_parents_is_two_streams(ros):
    kind = "tf2_msgs/msg/TFMessage"
    messages = [
        ("/tf", kind, START + k, ros.transforms((START + k, "map" if k % 2 else "odom", "base", (k, 0, 0))))
        for k in range(4)
    ]
    made = ros.read(messages)
    assert {name: stream.values[:, 0].tolist() for name, stream in made.streams.items()} == {
        "tf/odom/base": [0, 2],
        "tf/map/base": [1, 3],
    }


def test_points_whose_fields_change_are_refused(ros):
    def cloud(names):
        form = np.dtype([(name, "<f4") for name in names])
        return ros.cloud(START + len(names), np.ones(2, form), codes=[7] * len(names))

    messages = [
        ("/points", "sensor_msgs/msg/PointCloud2", START + len(names), cloud(names)) for names in ("xyz", "xyzi")
    ]
    with pytest.raises(
        DataError, match=r"topic /points, message 1: points have x, y, z, intensity, those before x, y, z\."
    ):
        ros.read(messages, REPAIR)
