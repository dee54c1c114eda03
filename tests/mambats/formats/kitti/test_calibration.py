import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.kitti import read_calibration, read_raw_calibration
from mambats_datasets.fakes import kitti, kitti_rig

POINT = np.array([12.0, 3.0, -0.5, 1.0])


def write(folder, text):
    path = folder / "0000.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize("spelling", ["tracking", "object", "odometry"])
@pytest.mark.parametrize("base", ["lidar", "camera_rect", "imu"])
def test_every_spelling_gives_the_published_projection(tmp_path, spelling, base):
    rig = read_calibration(write(tmp_path, kitti_rig.calibration(spelling)))
    if spelling == "odometry" and base == "imu":
        with pytest.raises(DataError, match="no Tr_imu_velo: choose lidar or camera_rect"):
            rig.frames(base)
        return
    frames = rig.frames(base)
    assert frames.names[0] == base
    for camera in range(4):
        published = rig.projection(camera) @ rig.lidar_to_rect @ POINT
        by_tree = rig.intrinsics(camera) @ (frames.transform(f"camera_{camera}", "lidar") @ POINT)[:3]
        np.testing.assert_allclose(by_tree / by_tree[2], published / published[2], atol=1e-6)


def test_the_imu_lies_where_the_file_says(tmp_path):
    frames = read_calibration(write(tmp_path, kitti_rig.calibration())).frames("imu")
    np.testing.assert_allclose(frames.transform("lidar", "imu")[:3], kitti_rig.IMU_TO_VELO, atol=1e-12)


def test_a_point_straight_ahead_is_at_the_principal_point(tmp_path):
    rig = read_calibration(write(tmp_path, kitti_rig.calibration()))
    seen = rig.intrinsics(2) @ (rig.frames().transform("camera_2", "camera_2") @ (0, 0, 7, 1))[:3]
    assert (seen[:2] / seen[2]).tolist() == list(kitti_rig.CENTRE)


def test_a_raw_day_has_the_same_rig(tmp_path):
    drive = kitti.fake_raw(tmp_path)
    raw = read_raw_calibration(drive.parent)
    rig = read_calibration(write(tmp_path, kitti_rig.calibration()))
    np.testing.assert_array_equal(raw.lidar_to_rect, rig.lidar_to_rect)
    np.testing.assert_array_equal(raw.imu_to_lidar, rig.imu_to_lidar)
    assert {k: v.tolist() for k, v in raw.projections.items()} == {k: v.tolist() for k, v in rig.projections.items()}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda t: t.replace("Tr_velo_cam ", "Tr_cam_to_velo "),
            r"no Tr_velo_cam or Tr_velo_to_cam or Tr, the file has .*Tr_cam_to_velo",
        ),
        (lambda t: t.replace("R_rect ", "Rectify "), "no R_rect or R0_rect"),
        (lambda t: "\n".join(t.splitlines()[4:]), "there is no P2"),
        (lambda t: t + t.splitlines()[2], "line 8: P2 stands there twice, first in line 3"),
        (lambda t: t + "R0_rect: " + "0 " * 9, "has R_rect and R0_rect, which are the same"),
        (lambda t: t.replace("P1: ", "P1: 3 "), r"line 2, P1: has 13 numbers, needed 3 x 4"),
        (lambda t: t.replace("P1: 9", "P1: q"), "line 2, P1: could not convert"),
        (lambda t: t.replace("P1: 9.0", "P1: nan"), "line 2, P1: .*"),
        (lambda t: t.replace("R_rect 9", "R_rect 5"), "line 5, R_rect: its left 3 x 3 block is not a rotation"),
        (lambda t: t + "???", "line 8: '[?]+' is not a key and its numbers"),
    ],
)
def test_faults_are_named_by_line_and_key(tmp_path, edit, message):
    path = write(tmp_path, edit(kitti_rig.calibration()))
    with pytest.raises(DataError, match=rf"0000\.txt.*{message}"):
        read_calibration(path)


def test_unknown_cameras_bases_and_files_are_named(tmp_path):
    rig = read_calibration(write(tmp_path, kitti_rig.calibration()))
    with pytest.raises(DataError, match=r"no camera 7, the calibration has \[0, 1, 2, 3\]"):
        rig.projection(7)
    with pytest.raises(DataError, match="base is 'velodyne': choose lidar"):
        rig.frames("velodyne")
    with pytest.raises(DataError, match=r"calib_cam_to_cam\.txt: cannot be read"):
        read_raw_calibration(tmp_path)


def test_all_real_files_are_read(data_root):
    paths = sorted((data_root / "fusion/kitti_tracking/calib").glob("*.txt"))
    assert len(paths) == 21
    for path in paths:
        rig = read_calibration(path)
        tree = rig.frames()
        published = rig.projection(2) @ rig.lidar_to_rect @ POINT
        by_tree = rig.intrinsics(2) @ (tree.transform("camera_2", "lidar") @ POINT)[:3]
        # The printed rotations are orthonormal to 1e-7, quaternions exactly: 1e-4 pixels at 12 m.
        np.testing.assert_allclose(by_tree[:2] / by_tree[2], published[:2] / published[2], atol=1e-4)
