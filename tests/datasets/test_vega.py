import importlib.util
import socket

import numpy as np
import pytest

from mambats.data import DataError, WindowDataModule
from mambats_datasets import NotFoundError, VegaTemperature, vega


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the embedded data asked for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_layouts_are_read(make, claim, tmp_path, monkeypatch):
    folder = tmp_path / "_data"
    folder.mkdir()
    for city, path in make("vega")(folder).items():
        monkeypatch.setitem(vega.RECORDS, city, claim(vega.RECORDS[city], path))

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    [both] = VegaTemperature().recordings()
    target = both.streams["target"]
    assert target.channels == ("seattle", "san_francisco")
    assert target.values.shape == (48, 2)
    assert np.flatnonzero(np.isnan(target.values).any(1)).tolist() == [26]
    assert np.allclose(target.values[:3], [[40.0, 50.0], [40.1, 50.1], [40.2, 50.2]])
    assert [recording.name for recording in VegaTemperature("series").recordings()] == ["seattle", "san_francisco"]


def test_the_package_carries_two_years_on_the_hour():
    pytest.importorskip("vega_datasets")
    data = WindowDataModule(VegaTemperature(), 96, 96)
    data.setup()
    assert data.panel.lengths.tolist() == [8760]
    assert int((~data.panel.observed).sum()) == 2
    assert data.period_ns == 3600 * 10**9
    assert len(data.windows("train")) == 5941


def test_without_the_package_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match=r"pip install 'mambats\[demo\]'"):
        VegaTemperature().recordings()


def test_unknown_layouts_are_refused():
    with pytest.raises(DataError, match="choose channels or series"):
        VegaTemperature("rows")
