import pytest

from mambats.data import DataError
from mambats_datasets import ChecksumError, EuRoC, NotFoundError, euroc
from mambats_datasets.fakes.euroc import fake, fake_loose


def test_whole_and_loose_flights_are_found(claim, tmp_path, monkeypatch):
    fake(tmp_path / "fusion/euroc/V1_01_easy")
    loose = fake_loose(tmp_path / "fusion/euroc/MH_01_easy")
    for file, record in euroc.RECORDS.items():
        monkeypatch.setitem(euroc.RECORDS, file, claim(record, loose.parent / file))
    first, second = EuRoC(str(tmp_path), ("MH_01_easy", "V1_01_easy")).recordings()
    assert (first.name, second.name) == ("MH_01_easy", "V1_01_easy")
    assert set(second.images) == {"cam0", "cam1"}
    monkeypatch.setenv("MAMBATS_DATA", str(tmp_path))
    assert len(EuRoC().recordings()[0].streams["imu"]) == 240
    with (loose / "imu0.csv").open("a") as file:
        file.write("9e18,0,0,0,0,0,9.81\n")
    with pytest.raises(ChecksumError, match="imu0.csv has sha256"):
        EuRoC().recordings()


def test_what_is_not_here_is_said(tmp_path):
    with pytest.raises(NotFoundError, match=r"euroc/MH_05_difficult has to be fetched by hand: get it from https"):
        EuRoC(sequences=("MH_05_difficult",)).recordings()
    with pytest.raises(NotFoundError, match=r"euroc/MH_01_easy is not in .* nor in its timeseries or fusion"):
        EuRoC(str(tmp_path)).recordings()
    with pytest.raises(DataError, match="clock is 'sort'"):
        EuRoC(faults="sort")


def test_every_real_flight_is_read(data_root):
    here = [name for name in euroc.SEQUENCES if (data_root / "fusion/euroc" / name).is_dir()]
    for recording in EuRoC(str(data_root), here).recordings():
        assert recording.truth["pose"].channels[-1] == "qw"
