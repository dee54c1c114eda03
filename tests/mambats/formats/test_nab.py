import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.nab import read_nab, read_windows
from mambats.formats.repair import REPAIR
from mambats_datasets.fakes.nab import fake


@pytest.fixture
def series(tmp_path):
    return fake(tmp_path)


def test_values_and_windows_are_read(series):
    recording = read_nab(series, series.with_name("combined_windows.json"))
    target, anomaly = recording.streams["target"], recording.truth["anomaly"]
    assert recording.name == "nyc_taxi"
    assert target.stamps[0] == np.datetime64("2014-07-01", "ns").astype(np.int64)
    assert set(np.diff(target.stamps).tolist()) == {1800 * 10**9}
    assert target.values[:3, 0].tolist() == [100, 101, 102]
    assert np.flatnonzero(anomaly.values[:, 0]).tolist() == [10, 11, 12, 40, 41, 42, 43, 44]
    assert read_nab(series).truth == {}
    assert read_windows(series.with_name("combined_windows.json"), "art_flatline").shape == (0, 2)


def test_a_repeated_hour_is_refused_or_dropped(series):
    lines = series.read_text().splitlines()
    series.write_text("\n".join([*lines[:21], *lines[19:]]))
    with pytest.raises(DataError, match=r"nyc_taxi.csv, line 22: the clock goes back"):
        read_nab(series)
    recording = read_nab(series, policy=REPAIR)
    assert len(recording.streams["target"]) == 60
    assert len(recording.repairs) == 2


def test_faults_are_named(series, tmp_path):
    windows = series.with_name("combined_windows.json")
    with pytest.raises(DataError, match=r"none.json: no such file"):
        read_nab(series, tmp_path / "none.json")
    other = series.with_name("ambient.csv")
    other.write_text(series.read_text())
    with pytest.raises(DataError, match="0 series are named ambient.csv, needed one"):
        read_nab(other, windows)
    text = windows.read_text()
    windows.write_text(text.replace('"2014-07-01 05:00:00.000000",', ""))
    with pytest.raises(DataError, match="a window of nyc_taxi.csv has not two ends"):
        read_nab(series, windows)
    windows.write_text(text[:-40])
    with pytest.raises(DataError, match="not a JSON table of windows"):
        read_nab(series, windows)
    series.write_text(series.read_text().replace("2014-07-01 01:00:00", "yesterday"))
    with pytest.raises(DataError, match="column 'timestamp', row 3: 'yesterday' is not a time like the others"):
        read_nab(series)
    series.write_text("time,value\n1,2\n")
    with pytest.raises(DataError, match="line 1: columns time, value, needed timestamp, value"):
        read_nab(series)


def test_real_series_and_their_windows(data_root):
    folder = data_root / "timeseries/nab"
    rows = {"ambient_temperature_system_failure": 7267, "nyc_taxi": 10_320, "rogue_agent_key_updown": 5315}
    paths = sorted(folder.glob("*.csv.gz"))
    assert paths
    for path in paths:
        recording = read_nab(path, folder / "combined_windows.json", REPAIR)
        share = recording.truth["anomaly"].values.mean()
        assert 0.05 < share < 0.15, "NAB's windows cover about a tenth of a series"
        if recording.name in rows:
            assert len(recording.streams["target"]) == rows[recording.name]
