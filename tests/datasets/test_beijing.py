import numpy as np
import pytest

from mambats.data import DataError, WindowDataModule
from mambats_datasets import BeijingPM25, beijing


@pytest.fixture
def small(make, claim, tmp_path, monkeypatch):
    monkeypatch.setattr(beijing, "RECORD", claim(beijing.RECORD, make("beijing")(tmp_path)))
    return str(tmp_path)


def test_the_layout_is_read(small):
    [recording] = BeijingPM25(small).recordings()
    target, past = recording.streams["target"], recording.streams["past"]
    assert np.flatnonzero(~target.observed[:, 0]).tolist() == [0, 1, 2, 30]
    assert np.diff(target.stamps).tolist() == [3600 * 10**9] * 47
    assert target.stamps[24] == np.datetime64("2010-02-01", "ns").astype(np.int64)
    assert past.channels[:6] == beijing.WEATHER
    assert past.values[:4, 6:].tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_dust_alone_leaves_rows_that_do_not_exist(small):
    data = WindowDataModule(BeijingPM25(small, past=()), 4, 2)
    data.setup()
    assert data.windows("train")[np.array([0])].mask[0].tolist() == [False, False, False, True, True, True]
    assert "past" not in BeijingPM25(small, past=()).recordings()[0].streams


def test_unknown_weather_is_named(small):
    with pytest.raises(DataError, match=r"past names \['SNOW'\]: choose of DEWP"):
        BeijingPM25(small, past=("SNOW",))


def test_the_real_file_lacks_2067_hours(data_root):
    [recording] = BeijingPM25(str(data_root)).recordings()
    observed = recording.streams["target"].observed
    assert observed.shape == (43_824, 1)
    assert int((~observed).sum()) == 2067
    assert recording.streams["past"].observed is None
    assert np.isfinite(recording.streams["past"].values).all()
