from dataclasses import replace

import pytest

from mambats_datasets import GtsamINS, NotFoundError, gtsam_ins
from mambats_datasets.fakes.gtsam_ins import fake


def test_the_drive_is_found_verified_and_read(tmp_path, monkeypatch):
    folder = fake(tmp_path / "fusion/gtsam_kitti_ins")
    for part, record in list(gtsam_ins.RECORDS.items()):
        monkeypatch.setitem(gtsam_ins.RECORDS, part, replace(record, sha256=""))
    [recording] = GtsamINS(str(tmp_path)).recordings()
    assert recording.name == "gtsam_kitti_ins"
    assert set(recording.streams) == {"imu", "gnss"}
    (folder / "KittiGps_converted.txt").unlink()
    with pytest.raises(NotFoundError, match="KittiGps_converted.txt"):
        GtsamINS(str(tmp_path)).recordings()


def test_the_real_drive(data_root):
    [recording] = GtsamINS(str(data_root)).recordings()
    assert len(recording.streams["gnss"]) == 470
