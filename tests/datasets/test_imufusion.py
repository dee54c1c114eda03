import numpy as np
import pytest

from mambats_datasets import ChecksumError, XioFusion, imufusion
from mambats_datasets.fakes.imufusion import fake


def test_the_log_is_found_verified_and_read(claim, tmp_path, monkeypatch):
    path = fake(tmp_path / "imufusion")
    monkeypatch.setattr(imufusion, "RECORD", claim(imufusion.RECORD, path))
    [recording] = XioFusion(str(tmp_path)).recordings()
    assert recording.streams["imu"].units[3] == "m/s^2"
    assert len(recording.streams["magnetometer"]) == 200
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ChecksumError):
        XioFusion(str(tmp_path)).recordings()


def test_the_real_log(data_root):
    [recording] = XioFusion(str(data_root)).recordings()
    imu = recording.streams["imu"]
    assert len(imu) == 13_514
    assert np.median(np.linalg.norm(imu.values[:, 3:], axis=1)) == pytest.approx(9.8, abs=0.1)
    assert np.abs(imu.values[:, :3]).max() < 35
