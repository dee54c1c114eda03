import gzip

import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.gtsam_ins import read_gtsam_ins
from mambats.formats.repair import REPAIR
from mambats_datasets.fakes.body import rocking
from mambats_datasets.fakes.gtsam_ins import fake


@pytest.fixture
def drive(tmp_path):
    return fake(tmp_path / "ins")


def edit(drive, change):
    path = drive / "KittiEquivBiasedImu.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress(("\n".join(change(lines)) + "\n").encode()))


def test_the_drive_is_read(drive):
    body = rocking(400, 100, start=46_534_478_375_790)
    recording = read_gtsam_ins(drive)
    imu, gnss = recording.streams["imu"], recording.streams["gnss"]
    assert imu.stamps.tolist() == body.stamps.tolist()
    np.testing.assert_array_equal(imu.values, np.hstack((body.rate, body.force)))
    assert gnss.stamps.tolist() == body.stamps[::100].tolist()
    assert gnss.values[1].tolist() == [1.5, -1, 0.25]
    assert (gnss.channels, gnss.unit, gnss.frame) == (("px", "py", "pz"), "m", "map")
    assert imu.covariance[0, 0] == pytest.approx(0.000175**2 / 0.01)
    assert imu.covariance[5, 5] == pytest.approx(0.01**2 / 0.01)
    assert recording.static["accelerometer_random_walk"] == 0.000167
    mounted = recording.frames.transform("base_link", "imu")
    np.testing.assert_allclose(mounted[:2, :2], [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    np.testing.assert_allclose(mounted[:3, 3], (5 * np.sin(0.1), 5 * (1 - np.cos(0.1)), 0.25))  # Pose3::Expmap


def test_times_and_periods_must_agree(drive):
    edit(drive, lambda lines: [*lines[:50], *lines[60:]])
    with pytest.raises(DataError, match=r"txt.gz, line 51: dt is 0.01.* s, the times differ by 0.11 s \(1 such"):
        read_gtsam_ins(drive)


def test_clock_faults_are_refused_or_repaired(drive):
    gps = drive / "KittiGps_converted.txt"
    lines = gps.read_text().splitlines()
    gps.write_text("\n".join([*lines, *(f"{46600 + i},{i},0,0" for i in range(20)), lines[2]]) + "\n")
    with pytest.raises(DataError, match="KittiGps_converted.txt, line 26: the clock goes back"):
        read_gtsam_ins(drive)
    assert "1 rows with a clock that goes back" in read_gtsam_ins(drive, REPAIR).repairs[0]


def test_missing_and_other_files_are_named(drive, tmp_path):
    with pytest.raises(DataError, match=r"no file \*Imu\*.txt"):
        read_gtsam_ins(tmp_path)
    edit(drive, lambda lines: [lines[0].replace("dt accelX", "dt accX"), *lines[1:]])
    with pytest.raises(DataError, match="line 1: Time dt accX .*; needed Time dt accelX"):
        read_gtsam_ins(drive)
    meta = drive / "KittiEquivBiasedImu_metadata.txt"
    meta.write_text(meta.read_text().replace("AverageDeltaT", "Period"))
    with pytest.raises(DataError, match="names AverageDeltaT are missing"):
        read_gtsam_ins(drive)


def test_a_torn_archive_is_refused_or_read_to_the_tear(drive):
    path = drive / "KittiEquivBiasedImu.txt.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="the archive is cut off"):
        read_gtsam_ins(drive)
    recording = read_gtsam_ins(drive, REPAIR)
    assert 100 < len(recording.streams["imu"]) < 400
    assert "the archive is cut off, read up to line" in recording.repairs[0]


def test_the_real_drive(data_root):
    recording = read_gtsam_ins(data_root / "fusion/gtsam_kitti_ins")
    imu, gnss = recording.streams["imu"], recording.streams["gnss"]
    assert (len(imu), len(gnss)) == (46_968, 470)
    assert imu.stamps[0] == 46_534_478_375_790
    path = np.linalg.norm(np.diff(gnss.values[:, :2], axis=0), axis=1).sum()
    assert path == pytest.approx(3700, rel=0.02)
