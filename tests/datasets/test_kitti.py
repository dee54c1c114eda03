import pytest

from mambats.data import DataError
from mambats_datasets import ChecksumError, KittiObject, KittiOdometry, KittiRaw, KittiTracking, NotFoundError, kitti
from mambats_datasets.fakes.kitti import fake, fake_object, fake_odometry, fake_raw


@pytest.fixture
def known(claim, monkeypatch):
    """Say that the fake files are the published ones."""

    def accept(folder):
        for file, record in kitti.RECORDS.items():
            if (folder / file).is_file():
                monkeypatch.setitem(kitti.RECORDS, file, claim(record, folder / file))

    return accept


def test_sequences_are_found_below_the_root(known, tmp_path, monkeypatch):
    fake(tmp_path / "fusion/kitti_tracking")
    known(tmp_path / "fusion")
    [recording] = KittiTracking(str(tmp_path)).recordings()
    assert recording.name == "kitti_tracking_0000" and "lidar" in recording.ragged
    monkeypatch.setenv("MAMBATS_DATA", str(tmp_path))
    assert "lidar" not in KittiTracking(sequences=["0000"], lidar=False).recordings()[0].ragged
    with (tmp_path / "fusion/kitti_tracking/label_02/0000.txt").open("a") as file:
        file.write("\n")
    with pytest.raises(ChecksumError, match="0000.txt has sha256"):
        KittiTracking().recordings()


def test_frames_poses_and_drives_are_found(known, tmp_path):
    fake_object(tmp_path / "kitti_frame")
    fake_odometry(tmp_path / "kitti_odometry")
    fake_raw(tmp_path / "kitti_raw")
    known(tmp_path)
    assert [recording.name for recording in KittiObject(str(tmp_path)).recordings()] == ["kitti_object_000000"]
    [odometry] = KittiOdometry(str(tmp_path)).recordings()
    assert odometry.name == "kitti_odometry_07" and not odometry.streams
    assert odometry.truth["pose"].stamps[1] == 103_700_000 and "lidar" in odometry.frames.names
    [drive] = KittiRaw(str(tmp_path)).recordings()
    assert drive.name == "2011_09_26_drive_0001_sync"
    assert len(KittiRaw(str(tmp_path), ["2011_09_26/2011_09_26_drive_0001_sync"], lidar=False).recordings()) == 1


def test_what_is_not_here_is_said(tmp_path):
    with pytest.raises(NotFoundError, match=r"kitti_tracking has to be fetched by hand: get it from .*CC BY-NC-SA"):
        KittiTracking().recordings()
    (tmp_path / "kitti_raw").mkdir()
    (tmp_path / "kitti_frame").mkdir()
    with pytest.raises(DataError, match="holds no drive"):
        KittiRaw(str(tmp_path)).recordings()
    with pytest.raises(DataError, match=r"calib: holds no \.txt file"):
        KittiObject(str(tmp_path)).recordings()


def test_every_real_sequence_is_read(data_root):
    recordings = KittiTracking(str(data_root)).recordings()
    assert len(recordings) == 21
    labelled = [recording for recording in recordings if "labels" in recording.ragged]
    assert len(labelled) >= 10
    rows = sum(len(recording.ragged["detections"].values) for recording in recordings)
    assert rows == 48_553 + 23_462 + 8_456
    assert sum(len(recording.ragged["detections_2d"].values) for recording in recordings) == 27_046 + 14_630
    assert {len(recording.truth["pose"]) for recording in KittiOdometry(str(data_root)).recordings()} >= {1101, 1201}
    assert KittiObject(str(data_root)).recordings()[0].images["camera_2"].image(0).ndim == 3
