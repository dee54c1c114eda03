from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mambats.formats import DataError
from mambats.formats.kitti import read_raw
from mambats.formats.kitti.oxts import mercator
from mambats.formats.repair import REPAIR
from mambats_datasets.fakes import kitti

START = np.datetime64("2011-09-26T13:02:25.964389445", "ns").astype(np.int64)


def test_each_sensor_keeps_its_own_clock(tmp_path):
    drive = read_raw(kitti.fake_raw(tmp_path))
    assert drive.name == "2011_09_26_drive_0001_sync"
    assert drive.streams["imu"].stamps[:2].tolist() == [START, START + 103_000_000]
    assert drive.images["camera_2"].stamps[0] == START + 7_000_000
    assert (drive.ragged["lidar"].stamps - START - 3_000_000).tolist() == [
        103_000_000 * k for k in (0, 1, 2, 4, 5, 6, 7)
    ]
    assert drive.repairs == (
        f"{tmp_path}/2011_09_26/{drive.name}/velodyne_points/data: 1 of 8 frames have no file, left out, "
        "the first is frame 3",
    )


def test_the_oxts_is_in_the_project_s_words(tmp_path):
    drive = read_raw(kitti.fake_raw(tmp_path))
    imu, pose = drive.streams["imu"], drive.truth["pose"]
    assert imu.values[0].tolist() == pytest.approx([0.001, -0.002, np.pi / 2, 0.1, 0.2, 9.81])
    assert drive.streams["velocity"].values[0].tolist() == [3.6, 3.5, 0.1]
    assert drive.streams["gnss"].units == ("deg", "deg", "m")
    turn = Rotation.from_quat(pose.values[:, 3:]).as_euler("ZYX")
    np.testing.assert_allclose(turn[2], (np.pi / 4 + np.pi / 10, -0.02, 0.01), atol=1e-9)
    # 1e-5 degrees north are 1.11 m anywhere; 1.5e-5 degrees east at 49 degrees 1.095 m.
    np.testing.assert_allclose(pose.values[1, :3], (1.5e-5 * 111_319.49 * np.cos(np.radians(49)), 1.1132, 0), atol=1e-4)
    assert drive.static["origin_latitude"] == 49.0


def test_mercator_keeps_short_distances():
    latitude, longitude = np.array([49.0, 49.001]), np.array([8.0, 8.001])
    flat = np.diff(mercator(latitude, longitude, np.cos(np.radians(49.0))), axis=0)[0]
    east, north = 0.001 * np.pi / 180 * 6378137.0 * np.cos(np.radians(49.0005)), 0.001 * np.pi / 180 * 6378137.0
    np.testing.assert_allclose(flat, (east, north), rtol=3e-5)


def edited(folder, name, edit):
    drive = kitti.fake_raw(folder, lost=())
    path = drive / name
    path.write_text(edit(path.read_text()))
    return drive


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("oxts/data/0000000002.txt", lambda t: t + t, r"0000000002\.txt: has 2 rows, needed 1"),
        ("oxts/data/0000000002.txt", lambda t: t[:50], r"0000000002\.txt, line 1: has \d+ columns, needed 30"),
        (
            "oxts/data/0000000002.txt",
            lambda t: t.replace("49.00", "149.00", 1),
            r"oxts/data, frame 2: latitude and longitude are 149",
        ),
        ("oxts/timestamps.txt", lambda t: t.replace("2011", "next"), r"timestamps\.txt, line 1: .* is no time like"),
        ("oxts/timestamps.txt", lambda t: t + "\n", r"timestamps\.txt, line 9: .* is no time like"),
        (
            "oxts/timestamps.txt",
            lambda t: "\n".join(t.splitlines()[:5]),
            r"0000000007\.txt: is frame 7, there are 5 frames",
        ),
        (
            "velodyne_points/timestamps.txt",
            lambda t: t[:29] + "\n" + t,
            r"velodyne_points/data, frame 1: the clock is the same",
        ),
    ],
)
def test_faults_are_named(tmp_path, name, edit, message):
    with pytest.raises(DataError, match=message):
        read_raw(edited(tmp_path, name, edit))


def test_a_clock_that_goes_back_is_repaired_by_policy(tmp_path):
    def swap(text):
        lines = text.splitlines()
        return "\n".join([*lines[:-1], lines[0]]) + "\n"

    drive = read_raw(edited(tmp_path, "oxts/timestamps.txt", swap), policy=replace(REPAIR, most=0.2))
    assert len(drive.streams["imu"]) == 7
    assert "1 rows with a clock that goes back, dropped, the first is line 8" in drive.repairs[0]


def test_a_folder_that_is_no_drive_is_named(tmp_path):
    drive = kitti.fake_raw(tmp_path)
    with pytest.raises(DataError, match="has neither oxts/data nor velodyne_points/data"):
        read_raw(drive.parent, drive.parent)
    with pytest.raises(DataError, match=r"calib_cam_to_cam\.txt: cannot be read"):
        read_raw(drive, tmp_path)
