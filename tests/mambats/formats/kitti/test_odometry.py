import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mambats.formats import DataError
from mambats.formats.kitti import read_poses, write_poses
from mambats.formats.layout import POSE
from mambats.formats.repair import REPAIR
from mambats.series import Stream
from mambats_datasets.fakes import kitti


def poses(rows, seed):
    rng = np.random.default_rng(seed)
    values = np.hstack([rng.normal(size=(rows, 3)) * 100, Rotation.random(rows, random_state=seed).as_quat()])
    return Stream(np.cumsum(rng.integers(1, 10**9, rows)).astype(np.int64), values, POSE.channels, unit=POSE.unit)


def test_a_left_turn_is_read_with_its_times(tmp_path):
    root = kitti.fake_odometry(tmp_path)
    home = root / "sequences/07"
    recording = read_poses(root / "poses/07.txt", home / "times.txt", calibration=home / "calib.txt")
    pose = recording.streams["pose"]
    assert recording.name == "07" and pose.frame == "camera_start" and pose.channels == POSE.channels
    assert pose.stamps[:3].tolist() == [0, 103_700_000, 207_400_000]
    np.testing.assert_allclose(Rotation.from_quat(pose.values[10, 3:]).as_rotvec(), (0, -0.2, 0), atol=1e-9)
    assert "lidar" in recording.frames.names
    assert read_poses(root / "poses/07.txt").streams["pose"].stamps[:2].tolist() == [0, 100_000_000]


@given(st.integers(1, 6), st.integers(0, 99))
def test_poses_come_back_as_they_were_written(tmp_path_factory, rows, seed):
    pose, folder = poses(rows, seed), tmp_path_factory.mktemp("p")
    write_poses(folder / "07.txt", pose, folder / "times.txt")
    read = read_poses(folder / "07.txt", folder / "times.txt").streams["pose"]
    np.testing.assert_allclose(read.values[:, :3], pose.values[:, :3], rtol=1e-15)
    turn = Rotation.from_quat(read.values[:, 3:]) * Rotation.from_quat(pose.values[:, 3:]).inv()
    assert turn.magnitude().max() < 1e-14
    np.testing.assert_array_equal(np.diff(read.stamps), np.diff(pose.stamps))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [*lines[:2], lines[2] + " 1", *lines[3:]], r"07\.txt, line 3: has 13 columns, needed 12"),
        (
            lambda lines: [lines[0], lines[1].replace("9", "5"), *lines[2:]],
            r"07\.txt, line 2: the left 3 x 3 block is not a rotation",
        ),
        (lambda lines: lines[:-1], r"times\.txt: has 20 times, .*07\.txt has 19 poses"),
        (lambda lines: [], r"07\.txt: has no rows"),
    ],
)
def test_faults_are_named_by_line(tmp_path, edit, message):
    root = kitti.fake_odometry(tmp_path)
    path = root / "poses/07.txt"
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines())))
    with pytest.raises(DataError, match=message):
        read_poses(path, root / "sequences/07/times.txt")


def test_times_that_fall_are_refused_or_dropped(tmp_path):
    root = kitti.fake_odometry(tmp_path)
    times = root / "sequences/07/times.txt"
    lines = times.read_text().splitlines()
    times.write_text("\n".join([*lines[:4], "0.05", *lines[5:]]) + "\n")
    with pytest.raises(DataError, match=r"07\.txt, line 5: the clock goes back"):
        read_poses(root / "poses/07.txt", times)
    recording = read_poses(root / "poses/07.txt", times, policy=REPAIR)
    assert len(recording.streams["pose"]) == 19
    assert "1 rows with a clock that goes back, dropped, the first is line 5" in recording.repairs[0]


def test_what_cannot_be_written_is_named(tmp_path):
    pose = poses(3, 0)
    lost = Stream(pose.stamps, np.where(pose.values == pose.values[1, 2], np.nan, pose.values), pose.channels)
    with pytest.raises(DataError, match="row 1 of the pose is not observed"):
        write_poses(tmp_path / "x.txt", lost)
    with pytest.raises(DataError, match="the pose has no qw"):
        write_poses(tmp_path / "x.txt", Stream(pose.stamps, pose.values[:, :6], pose.channels[:6]))


@pytest.mark.parametrize(("sequence", "rows"), [("07", 1101), ("10", 1201)])
def test_the_real_poses(data_root, tmp_path, sequence, rows):
    recording = read_poses(data_root / f"fusion/kitti_odometry/gt_poses/{sequence}.txt")
    pose = recording.streams["pose"]
    assert len(pose) == rows and recording.repairs == ()
    again = read_poses(write_poses(tmp_path / "p.txt", pose)).streams["pose"]
    np.testing.assert_allclose(again.values, pose.values, atol=1e-12)
