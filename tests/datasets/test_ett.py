import numpy as np
import pytest

from mambats.data import DataError, WindowDataModule
from mambats_datasets import ETT, ett


def test_the_layout_is_read(make, claim, tmp_path, monkeypatch):
    for name, step in (("ETTh1", 3600), ("ETTm2", 900)):
        path = make("ett")(tmp_path, name)
        monkeypatch.setitem(ett.RECORDS, name, claim(ett.RECORDS[name], path))
        [recording] = ETT(name, str(tmp_path)).recordings()
        target = recording.streams["target"]
        assert recording.name == name
        assert target.channels == ett.CHANNELS
        assert target.values.shape == (48, 7)
        assert np.diff(target.stamps).tolist() == [step * 10**9] * 47


@pytest.mark.parametrize(("name", "borders"), [("ETTh2", (8640, 11520, 14400)), ("ETTm1", (34560, 46080, 57600))])
def test_borders_are_the_published_ones(name, borders):
    found = ETT(name).borders
    assert (found.train, found.val, found.test) == borders


def test_unknown_files_are_named():
    with pytest.raises(DataError, match="no file 'ETTx': choose one of ETTh1, ETTh2, ETTm1, ETTm2"):
        ETT("ETTx")


def test_the_real_file_has_the_published_statistics(data_root):
    data = WindowDataModule(ETT("ETTh1", str(data_root)), 96, 96)
    data.setup()
    means = [7.9377, 2.0210, 5.0798, 0.7462, 2.7818, 0.7885, 17.1283]
    deviations = [5.8127, 2.0901, 5.5188, 1.9264, 1.0235, 0.6302, 9.1765]
    assert np.allclose(data.scaler.mean, means, atol=5e-5)
    assert np.allclose(data.scaler.scale, deviations, atol=5e-5)
    assert data.panel.lengths.tolist() == [17_420]
    assert [len(data.windows(split)) for split in ("train", "val", "test")] == [8449, 2785, 2785]
    assert data.windows("test")[np.array([0])].gaps is None


def test_windows_of_the_last_values_score_as_published(data_root):
    # Repeat-last on ETTh1 at 96/96 must score as it does everywhere: this pins borders, scale and windows together.
    data = WindowDataModule(ETT("ETTh1", str(data_root)), 96, 96)
    data.setup()
    batch = data.windows("test")[np.arange(2785)]
    error = (batch.target - batch.values[:, 95:96]).square().mean()
    assert abs(float(error) - 1.2944) < 2e-3
