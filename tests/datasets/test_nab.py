from dataclasses import replace

import pytest

from mambats.data import DataError
from mambats_datasets import NAB, NotFoundError, nab
from mambats_datasets.fakes.nab import fake


@pytest.fixture
def root(claim, tmp_path, monkeypatch):
    path = fake(tmp_path / "timeseries/nab")
    monkeypatch.setitem(nab.RECORDS, "nyc_taxi", claim(nab.RECORDS["nyc_taxi"], path))
    windows = path.with_name("combined_windows.json")
    monkeypatch.setitem(nab.RECORDS, "windows", claim(nab.RECORDS["windows"], windows))
    return tmp_path


def test_series_are_found_verified_and_read(root):
    [recording] = NAB(str(root), ["nyc_taxi"]).recordings()
    assert recording.truth["anomaly"].values.sum() == 8
    with pytest.raises(NotFoundError, match=r"nab/machine_temperature_system_failure.csv \(or .gz\) is not in"):
        NAB(str(root), ["machine_temperature_system_failure"]).recordings()


def test_clock_faults_are_repaired_unless_refused(root):
    path = root / "timeseries/nab/nyc_taxi.csv"
    lines = path.read_text().splitlines()
    other = path.with_name("rogue_agent_key_hold.csv")
    other.write_text("\n".join([*lines[:21], *lines[19:]]))
    windows = path.with_name("combined_windows.json")
    nab.RECORDS["windows"] = replace(nab.WINDOWS, sha256="")
    windows.write_text(windows.read_text().replace("nyc_taxi", "rogue_agent_key_hold"))
    [recording] = NAB(str(root), ["rogue_agent_key_hold"]).recordings()
    assert len(recording.repairs) == 2
    with pytest.raises(DataError, match="the clock goes back"):
        NAB(str(root), ["rogue_agent_key_hold"], faults="refuse").recordings()


def test_the_real_series(data_root):
    recordings = NAB(str(data_root)).recordings()
    assert [recording.name for recording in recordings] == list(nab.KNOWN)
    assert all(recording.truth["anomaly"].values.any() for recording in recordings)
