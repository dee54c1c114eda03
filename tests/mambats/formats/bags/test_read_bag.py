"""Bags of both ROS and MCAP: what rosbags wrote is what is read; faults are named; cut files are read up to the cut."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from mambats.formats.bags import read_bag, write_mcap
from mambats.formats.error import DataError
from mambats.formats.messages.layout import Layouts
from mambats.formats.repair import REPAIR, Policy
from tests.mambats.formats.bags.ros_files import START, Ros

IMU, FIX, ODOMETRY = "sensor_msgs/msg/Imu", "sensor_msgs/msg/NavSatFix", "nav_msgs/msg/Odometry"
TF, CLOUD, TWIST = "tf2_msgs/msg/TFMessage", "sensor_msgs/msg/PointCloud2", "geometry_msgs/msg/Twist"
KINDS = [(1, ""), (2, "mcap"), (2, "sqlite")]
MS = 10**6


@pytest.fixture(params=KINDS, ids=["ros1", "mcap", "sqlite"])
def ros(request, tmp_path):
    version, storage = request.param
    made = Ros(version)
    made.save = lambda messages: made.write(tmp_path / f"bag{'.bag' if version == 1 else ''}", messages, storage)
    return made


def imus(ros, rows, step=5 * MS, **how):
    return [
        ("/imu/data", IMU, START + k * step, ros.imu(START + k * step + 1, row, **how)) for k, row in enumerate(rows)
    ]


def test_an_imu_is_read_as_it_was_written(ros):
    rows = np.random.default_rng(0).normal(size=(300, 6))
    made = read_bag(ros.save(imus(ros, rows, noise=0.01)))
    imu = made.streams["imu/data"]
    np.testing.assert_array_equal(imu.values, rows)
    np.testing.assert_array_equal(imu.stamps, START + 1 + np.arange(300) * 5 * MS)
    assert imu.channels == ("wx", "wy", "wz", "ax", "ay", "az")
    assert imu.units == ("rad/s",) * 3 + ("m/s^2",) * 3
    assert imu.frame == "imu_link"
    np.testing.assert_allclose(imu.covariance, np.diag([0.01] * 3 + [0.02] * 3))
    assert list(made.streams) == ["imu/data"] and made.repairs == ()


def test_orientation_is_a_stream_of_its_own(ros):
    turn = ros.turn(0, 0, np.sin(0.1), np.cos(0.1))
    made = read_bag(ros.save(imus(ros, np.ones((3, 6)), turn=turn)), names={"/imu/data": "imu"})
    np.testing.assert_allclose(made.streams["imu/orientation"].values, [[0, 0, np.sin(0.1), np.cos(0.1)]] * 3)
    assert made.streams["imu"].covariance is None


def test_a_fix_is_degrees_and_its_noise_too(ros):
    noise = np.diag([4.0, 9.0, 25.0]).ravel()
    messages = [
        ("/fix", FIX, START + k, ros.fix(START + k, (49.0, 8.4, 110.0 + k), -1 if k == 1 else 0, noise))
        for k in range(3)
    ]
    fix = read_bag(ros.save(messages)).streams["fix"]
    assert fix.units == ("deg", "deg", "m")
    np.testing.assert_array_equal(fix.observed, [[True] * 3, [False] * 3, [True] * 3])
    # A degree of latitude is 111.2 km at 49 degrees north, one of longitude 73.2 km.
    deviations = np.sqrt(np.diagonal(fix.covariance[0]))
    np.testing.assert_allclose(deviations, [3 / 111.2e3, 2 / 73.2e3, 5], rtol=1e-3)


def test_odometry_is_pose_and_twist(ros):
    noise = np.diag([0.1, 0.2, 0.3, 1e-4, 2e-4, 3e-4])
    place = (1.0, 2.0, 3.0)
    message = ros.odometry(START, place, ros.turn(), noise)
    made = read_bag(ros.save([("/odom", ODOMETRY, START, message)]))
    odom, twist = made.streams["odom"], made.streams["odom/twist"]
    np.testing.assert_array_equal(odom.values, [[1, 2, 3, 0, 0, 0, 1]])
    # At no rotation, q = (r / 2, 1).
    np.testing.assert_allclose(odom.covariance, np.diag([0.1, 0.2, 0.3, 0.25e-4, 0.5e-4, 0.75e-4, 0]))
    np.testing.assert_array_equal(twist.values, [[1, 2, 3, 4, 5, 6]])
    assert (odom.frame, twist.frame) == ("odom", "base_link")


def test_transforms_are_a_tree_and_moving_poses(ros):
    fixed = ros.transforms((0, "base_link", "imu_link", (0, 0, 1)), (0, "base_link", "lidar", (1, 0, 0)))
    moving = [
        (
            "/tf",
            TF,
            START + k,
            ros.transforms((START + k, "odom", "base_link", (k, 0, 0)), (START + k, "map", "odom", (0, k, 0))),
        )
        for k in range(4)
    ]
    made = read_bag(ros.save([("/tf_static", TF, START, fixed), *moving]))
    np.testing.assert_array_equal(made.frames.transform("lidar", "imu_link")[:3, 3], [-1, 0, 1])
    np.testing.assert_array_equal(made.streams["tf/base_link"].values[:, 0], np.arange(4))
    assert made.streams["tf/odom"].frame == "map"
    assert made.repairs == ()


def test_clouds_have_their_own_sizes_and_layouts(ros):
    form = np.dtype({"names": ["x", "y", "z", "time", "ring"], "formats": ["<f4"] * 4 + ["<u2"],
                     "offsets": [0, 4, 8, 16, 20], "itemsize": 24})  # fmt: skip
    random, messages, clouds = np.random.default_rng(0), [], []
    for k, count in enumerate([5, 0, 7]):
        points = np.zeros(count, form)
        for name in "xyz":
            points[name] = random.normal(size=count)
        points["ring"], points["time"] = np.arange(count), 0.01
        messages.append(("/points", CLOUD, START + k, ros.cloud(START + k, points, codes=[7, 7, 7, 7, 4])))
        clouds.append(points)
    clouds[2]["x"][3] = np.nan
    made = read_bag(ros.save(messages))
    lidar = made.ragged["points"]
    assert lidar.channels == ("x", "y", "z", "t", "ring") and lidar.frame == "lidar"
    np.testing.assert_array_equal(np.diff(lidar.splits), [5, 0, 6])
    np.testing.assert_array_equal(lidar.table(0)[:, 1], clouds[0]["y"])
    np.testing.assert_array_equal(lidar.table(2)[:, 4], [0, 1, 2, 4, 5, 6])
    assert "1 of 12 points without a return" in made.repairs[0]


def test_an_unknown_type_is_reported_not_fatal(ros):
    text = ros.new("std_msgs/msg/String", data="hello")
    made = read_bag(ros.save([*imus(ros, np.ones((2, 6))), ("/chat", "std_msgs/msg/String", START, text)]))
    assert len(made.streams["imu/data"]) == 2
    assert made.repairs[0].endswith("topic /chat: 1 messages of type 'std_msgs/msg/String', which is not read")


def test_the_log_is_the_clock_only_without_a_header(ros):
    still = ros.new("geometry_msgs/msg/Twist", linear=ros.vector(1, 0, 0), angular=ros.vector(0, 0, 0))
    unset = imus(ros, np.ones((2, 6)))
    unset = [(topic, kind, log, ros.imu(0, np.ones(6))) for topic, kind, log, _ in unset]
    made = read_bag(ros.save([("/cmd_vel", TWIST, START + 5, still), *unset]))
    assert made.streams["cmd_vel"].stamps.tolist() == [START + 5]
    assert made.streams["imu/data"].stamps.tolist() == [START, START + 5 * MS]
    assert any("without a header, stamped by the log's time" in line for line in made.repairs)
    assert any("header has stamp 0" in line for line in made.repairs)


def test_a_clock_that_goes_back_is_named_and_repaired_on_request(ros):
    messages = imus(ros, np.arange(120.0).reshape(20, 6))
    messages[7] = (*messages[7][:3], ros.imu(START + 2 * MS, np.zeros(6)))
    path = ros.save(messages)
    with pytest.raises(DataError, match=r"topic /imu/data, message 7: the clock goes back"):
        read_bag(path)
    made = read_bag(path, REPAIR)
    assert len(made.streams["imu/data"]) == 19
    assert "1 rows with a clock that goes back, dropped, the first is message 7" in made.repairs[0]


def test_frames_that_change_are_reported(ros):
    messages = imus(ros, np.ones((2, 6))) + imus(ros, np.ones((4, 6)), frame="imu")[2:]
    made = read_bag(ros.save(messages))
    assert made.streams["imu/data"].frame == ""
    assert "frame_id changes ('imu_link', 'imu')" in made.repairs[0]


def test_a_loop_of_static_transforms_is_refused(ros):
    loop = ros.transforms((0, "a", "b", (0, 0, 1)), (0, "b", "a", (0, 0, 1)))
    with pytest.raises(DataError, match="static transforms: frames form a loop"):
        read_bag(ros.save([("/tf_static", TF, START, loop)]))


def test_a_quaternion_that_is_none_is_refused_or_normalised(ros):
    turn = ros.turn(0, 0, 0, 1.05)
    path = ros.save([("/odom", ODOMETRY, START, ros.odometry(START, (0, 0, 0), turn, np.zeros((6, 6))))])
    with pytest.raises(DataError, match=r"topic /odom, message 0: quaternion .* has length 1.0500"):
        read_bag(path)
    np.testing.assert_allclose(read_bag(path, REPAIR).streams["odom"].values[0, 3:], [0, 0, 0, 1])


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_ros2_bags_packed_by_the_recorder(tmp_path, mode):
    ros = Ros(2)
    writer = Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/imu/data", IMU, typestore=ros.store)
        for _, name, log, message in imus(ros, np.ones((5, 6))):
            writer.write(topic, log, bytes(ros.store.serialize_cdr(message, name)))
    np.testing.assert_array_equal(read_bag(tmp_path / "bag").streams["imu/data"].values, np.ones((5, 6)))


def file_of(path):
    return path if path.is_file() else next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize(("version", "storage"), KINDS[:2], ids=["ros1", "mcap"])
def test_a_file_cut_off_anywhere_is_refused_and_read_up_to_there(tmp_path, version, storage):
    ros = Ros(version)
    rows = np.random.default_rng(0).normal(size=(9000, 6))
    path = file_of(ros.write(tmp_path / "whole.bag", imus(ros, rows), storage))
    data, found = path.read_bytes(), []
    for share in (0.2, 0.5, 0.8, 0.95, 0.9999):
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"byte \d+: (the file is cut off|the index should be at byte)"):
            read_bag(cut)
        made = read_bag(cut, Policy(torn="repair"))
        assert any("cut" in line for line in made.repairs)
        count = len(made.streams["imu/data"]) if made.streams else 0
        np.testing.assert_array_equal(made.streams["imu/data"].values if count else rows[:0], rows[:count])
        found.append(count)
    assert found == sorted(found) and found[-1] == 9000 and 0 < found[1] < 9000


def test_a_flipped_byte_in_an_mcap_chunk_is_noticed(tmp_path):
    ros = Ros(2)
    whole = read_bag(ros.write(tmp_path / "bag", imus(ros, np.ones((9000, 6)))))
    path = tmp_path / "flipped.mcap"
    write_mcap(whole, path)  # rosbags writes no checksums
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"byte \d+: a chunk is damaged"):
        read_bag(path)
    assert "its messages are left out" in read_bag(path, REPAIR).repairs[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "the file is empty"), (b"hello there", "begins with b'hello th'"), (b"#ROSBAG V1.2\n", "begins with")],
)
def test_other_files_are_refused_by_name(tmp_path, content, words):
    path = tmp_path / "other.mcap"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"other.mcap: is no ROS bag and no MCAP file .*{words}"):
        read_bag(path)
    with pytest.raises(DataError, match=r"nothing.bag: no such file"):
        read_bag(tmp_path / "nothing.bag")


def test_a_message_shorter_than_its_type_is_named(tmp_path):
    ros = Ros(2)
    good = ros.store.serialize_cdr
    ros.store.serialize_cdr = lambda message, name: bytes(good(message, name))[
        : 100 if message.header.frame_id == "x" else None
    ]
    messages = imus(ros, np.ones((3, 6))) + imus(ros, np.ones((4, 6)), frame="x")[3:]
    try:
        path = ros.write(tmp_path / "bag", messages)
    finally:
        del ros.store.serialize_cdr
    with pytest.raises(
        DataError, match=r"/imu/data: among messages 0 to 3 one is not sensor_msgs/msg/Imu .* ends at byte"
    ):
        read_bag(path)
    made = read_bag(path, REPAIR)
    assert len(made.streams["imu/data"]) == 3
    assert "1 messages that are damaged, left out, the first is message 3" in made.repairs[0]


def test_big_endian_messages_beside_little_ones():
    ros = Ros(2)
    rows = np.arange(24.0).reshape(4, 6)
    packed = [
        bytes(ros.store.serialize_cdr(ros.imu(START + k, row), IMU, little_endian=k % 2 == 0))
        for k, row in enumerate(rows)
    ]
    groups = Layouts(ros.store.fielddefs, IMU, "cdr").tables(packed)
    assert sorted(row for found, _ in groups for row in found) == [0, 1, 2, 3]
    for found, table in groups:
        np.testing.assert_array_equal(table["linear_acceleration.z"], rows[found, 5])


def test_two_topics_with_one_name_are_refused(ros):
    messages = imus(ros, np.ones((2, 6)))
    path = ros.save(messages + [("/imu/raw", *rest) for _, *rest in messages])
    with pytest.raises(DataError, match=r"there are two streams 'imu'"):
        read_bag(path, names={"/imu/data": "imu", "/imu/raw": "imu"})


@pytest.mark.parametrize(("version", "storage"), KINDS, ids=["ros1", "mcap", "sqlite"])
def test_any_damage_is_a_data_error(tmp_path, version, storage):
    """Bytes changed anywhere, first of all in the headers: read, or refused in words, never a crash."""
    ros, random = Ros(version), np.random.default_rng(0)
    static = ros.transforms((0, "a", "b", (0, 0, 1)), (0, "a", "c", (0, 0, 1)))
    path = file_of(
        ros.write(tmp_path / "whole.bag", [*imus(ros, np.ones((9, 6))), ("/tf_static", TF, START, static)], storage)
    )
    data = path.read_bytes()
    for _ in range(40):
        changed = bytearray(data)
        for place in random.integers(0, random.choice([len(data), min(3000, len(data))]), 3):
            changed[place] = random.integers(256)
        path.write_bytes(changed[: random.integers(len(data) // 2, 2 * len(data))])
        for policy in (Policy(), REPAIR):
            try:
                read_bag(path, policy)
            except DataError as error:
                assert len(str(error)) > 30


FRAMES = st.lists(st.text("ab_/", max_size=5), min_size=1, max_size=12)


@given(frames=FRAMES, version=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_layouts_give_what_rosbags_gives(frames, version, seed):
    """Any mix of lengths of text, and of transforms a message."""
    ros, random = Ros(version), np.random.default_rng(seed)
    pack = ros.store.serialize_ros1 if version == 1 else ros.store.serialize_cdr
    count = random.integers(0, 3, len(frames))
    edges = [[(k, f"p{f}", f"c{f}{j}", random.normal(size=3)) for j in range(count[k])] for k, f in enumerate(frames)]
    messages = [bytes(pack(ros.transforms(*edge), TF)) for edge in edges]
    layouts, seen = Layouts(ros.store.fielddefs, TF, "ros1" if version == 1 else "cdr"), []
    for rows, table in layouts.tables(messages):
        seen += rows.tolist()
        for row, message in zip(rows, table, strict=True):
            for j, (_, parent, child, place) in enumerate(edges[row]):
                path = f"transforms.{j}."
                assert bytes(message[f"{path}header.frame_id"]).decode() == parent
                assert bytes(message[f"{path}child_frame_id"]).decode() == child
                assert [message[f"{path}transform.translation.{axis}"] for axis in "xyz"] == place.tolist()
    assert sorted(seen) == list(range(len(frames)))


def test_the_real_mcap_is_what_mcap_ros2_reads(data_root):
    """Foxglove's own decoder beside ours, on a drive of a TurtleBot."""
    mcap = pytest.importorskip("mcap_ros2.reader")
    path = data_root / "fusion" / "io" / "nav2_turtlebot.mcap"
    made = read_bag(path)
    theirs = [item.ros_msg for item in mcap.read_ros2_messages(str(path), topics=["/odom"])]
    odom = made.streams["odom"]
    values = [
        [p.position.x, p.position.y, p.position.z, p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w]
        for p in (message.pose.pose for message in theirs)
    ]
    np.testing.assert_array_equal(odom.values, values)
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in theirs]
    np.testing.assert_array_equal(odom.stamps, stamps)
    assert "imu_link" in made.frames.names and made.streams["tf/base_link"].frame == "odom"
