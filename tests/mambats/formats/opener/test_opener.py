"""Formats are told by content and layout; what fits nothing is refused with what was looked for."""

import gzip
import importlib
import shutil

import numpy as np
import pytest

from mambats.formats.error import DataError
from mambats.formats.opener import FORMATS, open_any, recognise
from mambats.formats.store import save_recording
from mambats.series import Recording, Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")
TUM = "# time x y z ...\n1.0 0 0 0 0 0 0 1\n2.0 1 0 0 0 0 0 1\n"


def place(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.txt", TUM, "tum"),
        ("poses.anything", TUM, "tum"),
        ("a.txt.gz", TUM, "tum"),
        ("07.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n" * 3, "kitti_poses"),
        ("0000.txt", "0 -1 DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -10\n", "kitti_labels"),
        ("Car/0000.txt", "0,1,2,3,4,0.5\n", "kitti_detections_2d"),
        ("0000.txt", "0,2,1,2,3,4,5,6,7,8,9,10,11,12,13\n", "kitti_detections"),
        ("x.csv", "timestamp,value\n2014-07-01 00:00:00,1\n", "nab"),
        ("x.csv", "time,imu.wx [rad/s]\n0.0,1\n0.1,2\n", "sensor_csv"),
        ("x.csv", "Time (s),Gyroscope X (deg/s),Accelerometer X (g)\n0,1,2\n1,2,3\n", "x-imu3"),
        ("x.csv", "date,OT\n2016-07-01 00:00:00,1\n2016-07-01 01:00:00,2\n", "table"),
        ("Heart_TRAIN.ts", "#made\n@problemName Heart\n@classLabel false\n@data\n1,2,3\n", "uea"),
        ("train_FD003.txt", "1 1 0 0\n", "cmapss"),
        ("trial.mat", "MATLAB 5.0 MAT-file, Platform", "broad"),
        ("log.bin", "#ROSBAG V2.0\n", "bag"),
        ("log.bin", "SQLite format 3\0", "bag"),
    ],
)
def test_a_file_is_known_by_its_content(tmp_path, name, text, form):
    found = recognise(place(tmp_path, name, text))
    assert found is not None and found.name == form


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["mav0/imu0/data.csv"], "euroc"),
        (["imu0/data.csv"], "euroc"),
        (["oxts/timestamps.txt", "oxts/data/0.txt"], "kitti_raw"),
        (["calib/0000.txt", "label_02/0000.txt"], "kitti_tracking"),
        (["calib/000001.txt", "velodyne/000001.bin"], "kitti_object"),
        (["aImu.txt", "aGps.txt", "a_metadata.txt"], "gtsam_ins"),
        (["test_FD001.txt.gz"], "cmapss"),
        (["infos.pkl", "sweep.pcd.bin"], "nuscenes"),
        (["metadata.yaml", "x_0.db3"], "bag folder"),
        (["x_0.mcap", "x_1.mcap"], "bag folder"),
        (["recording.json"], "recording"),
    ],
)
def test_a_folder_is_known_by_its_layout(tmp_path, names, form):
    for name in names:
        place(tmp_path, name, "")
    found = recognise(tmp_path)
    assert found is not None and found.name == form


def test_what_is_known_is_read(tmp_path):
    [tum] = open_any(place(tmp_path, "walk.txt", TUM))
    np.testing.assert_array_equal(tum.streams["pose"].stamps, [10**9, 2 * 10**9])
    made = Recording("mine", {"imu": Stream(np.arange(3), np.ones((3, 2)), ("a", "b"))})
    [back] = open_any(save_recording(made, tmp_path / "saved"))
    np.testing.assert_array_equal(back.streams["imu"].values, made.streams["imu"].values)
    log = "Time (s),Gyroscope X (deg/s),Magnetometer Y (uT)\n0,180,30\n0.01,90,31\n"
    [inertial] = open_any(place(tmp_path, "log.csv", log))
    np.testing.assert_allclose(inertial.streams["imu"].values[:, 0], [np.pi, np.pi / 2])
    assert inertial.streams["magnetometer"].channels == ("my",)


def test_a_folder_of_known_files_is_all_of_them(tmp_path):
    for name in ("b.txt", "a.txt"):
        place(tmp_path, name, TUM)
    place(tmp_path, "LICENSE", "do as you like")
    place(tmp_path, "about.json", "{}")
    assert [one.name for one in open_any(tmp_path)] == ["a", "b"]


def test_what_fits_nothing_says_what_was_looked_for(tmp_path):
    path = place(tmp_path, "x.dat", "nonsense here")
    with pytest.raises(DataError, match=r"x.dat: a file that begins with b'nonsense here' is of no format") as error:
        open_any(path)
    assert all(f"  {form.name}: " in str(error.value) for form in FORMATS)
    shutil.move(path, tmp_path / "y.dat")
    place(tmp_path, "walk.txt", TUM)
    with pytest.raises(DataError, match=r"a folder with walk.txt, y.dat \(y.dat is not known alone either\)"):
        open_any(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="an empty folder is of no format"):
        open_any(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no such file or folder"):
        open_any(tmp_path / "nowhere")


def test_a_part_of_a_recording_names_the_whole(tmp_path):
    place(tmp_path, "calib/000001.txt", "P0: 1")
    path = place(tmp_path, "velodyne/000001.bin", "\1\2\3\4")
    with pytest.raises(DataError, match=r"is a part of .*, which is KITTI object: .* Give that folder"):
        open_any(path)


@pytest.mark.parametrize(
    ("corpus", "maker", "form", "count"),
    [
        ("broad", "fake", "broad", 1),
        ("cmapss", "fake", "cmapss", 6),
        ("euroc", "fake", "euroc", 1),
        ("euroc", "fake_loose", "euroc", 1),
        ("gtsam_ins", "fake", "gtsam_ins", 1),
        ("imufusion", "fake", "x-imu3", 1),
        ("kitti", "fake", "kitti_tracking", 1),
        ("kitti", "fake_object", "kitti_object", 1),
        ("kitti", "fake_odometry", "kitti_odometry", 1),
        ("kitti", "fake_raw", "kitti_raw", 1),
        ("nab", "fake", "nab", 1),
        ("nuscenes", "fake", "nuscenes", 1),
        ("uea", "fake_unequal", "uea", 3),
    ],
)
def test_tiny_files_in_the_true_layouts_are_known_and_read(tmp_path, corpus, maker, form, count):
    path = getattr(importlib.import_module(f"mambats_datasets.fakes.{corpus}"), maker)(tmp_path / "held")
    found = recognise(path)
    assert found is not None and found.name == form
    assert len(open_any(path)) == count


def test_names_of_formats_are_unique():
    names = [form.name for form in FORMATS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("fusion/euroc/MH_01_easy", "euroc"),
        ("fusion/broad/10_undisturbed_slow_translation_A.mat", "broad"),
        ("fusion/gtsam_kitti_ins", "gtsam_ins"),
        ("fusion/imufusion/sensor_data.csv", "x-imu3"),
        ("fusion/io/nav2_turtlebot.mcap", "bag"),
        ("fusion/kitti_frame", "kitti_object"),
        ("fusion/kitti_tracking", "kitti_tracking"),
        ("fusion/kitti_odometry/gt_poses/07.txt", "kitti_poses"),
        ("fusion/nuscenes_frame", "nuscenes"),
        ("fusion/cmapss", "cmapss"),
        ("timeseries/ETTh1.csv", "table"),
        ("timeseries/nab/nyc_taxi.csv.gz", "nab"),
        ("timeseries/uea/BasicMotions_TRAIN.ts.gz", "uea"),
    ],
)
def test_real_files_are_known_and_read(data_root, path, form):
    found = recognise(data_root / path)
    assert found is not None and found.name == form
    recordings = open_any(data_root / path)
    assert recordings and all(one.streams or one.ragged or one.images for one in recordings)
