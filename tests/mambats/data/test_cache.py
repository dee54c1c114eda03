import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from mambats.data import Borders, Cached, DataError, Table, WindowDataModule, write_cache
from mambats.data.panel import build_panel
from mambats_datasets import Oscillators

SOURCE = Oscillators(rows=200, series=3, absent=0.1, covariates=True)


def batch(source):
    data = WindowDataModule(source, 24, 8)
    data.setup()
    return data, data.windows("train")[np.arange(60)]


def test_a_cache_gives_the_same_windows_and_fingerprint(tmp_path):
    plain, expected = batch(SOURCE)
    for source in (Cached(str(tmp_path / "c"), SOURCE), Cached(str(tmp_path / "c"))):
        data, found = batch(source)
        assert data.fingerprint == plain.fingerprint
        assert data.name == "oscillators"
        for name in ("values", "observed", "past", "future", "static", "clock"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert isinstance(data.panel.values, np.memmap)


def test_recordings_come_back(tmp_path):
    for one, other in zip(Cached(str(tmp_path / "c"), SOURCE).recordings(), SOURCE.recordings(), strict=True):
        assert one.name == other.name
        assert one.static == other.static
        for part, stream in other.streams.items():
            assert np.array_equal(one.streams[part].stamps, stream.stamps)
            assert np.allclose(one.streams[part].values, stream.values, equal_nan=True)


def test_published_borders_travel_with_the_data(tmp_path):
    write_cache(build_panel("x", SOURCE.recordings()), tmp_path / "c", borders=Borders(100, 120, 150))
    assert batch(Cached(str(tmp_path / "c")))[0].borders[0].tolist() == [100, 120, 150]


def test_training_from_a_cache_needs_no_polars_and_no_mlflow(tmp_path):
    batch(Cached(str(tmp_path / "c"), SOURCE))
    script = (
        "import sys\n"
        "for name in ('polars', 'mlflow', 'pooch', 'platformdirs'): sys.modules[name] = None\n"
        "from mambats.data import Cached, WindowDataModule\n"
        "from mambats_datasets import ETT, BeijingPM25, VegaTemperature\n"
        f"data = WindowDataModule(Cached({str(tmp_path / 'c')!r}), 24, 8)\n"
        "data.setup()\n"
        "print(len(next(iter(data.train_dataloader()))))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_environment())
    assert done.stdout.strip() == "32", done.stderr


def _environment():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def written(tmp_path):
    folder = tmp_path / "c"
    write_cache(build_panel("x", SOURCE.recordings()), folder)
    return folder


def test_a_changed_value_is_found(tmp_path):
    folder = written(tmp_path)
    values = np.load(folder / "target.npy", mmap_mode="r+")
    values[0, 5] += 1
    values.flush()
    with pytest.raises(DataError, match=r"target.npy: not the array that was written"):
        Cached(str(folder)).panel()


def test_a_truncated_file_is_found(tmp_path):
    folder = written(tmp_path)
    whole = (folder / "past.npy").read_bytes()
    (folder / "past.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"past.npy: cannot be read"):
        Cached(str(folder), verify=False).panel()


def test_pickled_objects_are_not_loaded(tmp_path):
    folder = written(tmp_path)
    np.save(folder / "stamps.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match=r"stamps.npy: cannot be read"):
        Cached(str(folder)).panel()


def test_another_format_is_refused(tmp_path):
    folder = written(tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(DataError, match="cache format 99, this version reads 1"):
        Cached(str(folder)).panel()


def test_a_cache_of_another_source_is_refused(tmp_path):
    Cached(str(tmp_path / "c"), SOURCE).panel()
    with pytest.raises(DataError, match="Delete the folder to build it again"):
        Cached(str(tmp_path / "c"), Oscillators(rows=200, series=3, absent=0.1, covariates=True, seed=1)).panel()


def test_a_cache_of_a_file_that_changed_is_refused(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    cached = Cached(str(tmp_path / "c"), Table(str(path)))
    cached.panel()
    path.write_text(LONG.replace("124", "125"))
    with pytest.raises(DataError, match="the file it was made from has changed"):
        cached.panel()
    path.unlink()
    assert cached.panel().ids == ("b", "a"), "where the file is not, the cache stands alone"


def test_no_cache_and_no_source_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no cache here"):
        Cached(str(tmp_path / "c")).panel()


def test_a_failed_build_leaves_nothing_and_keeps_what_was(tmp_path, monkeypatch):
    folder = written(tmp_path)
    before = (folder / "meta.json").read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*nothing was left behind"):
        write_cache(build_panel("y", SOURCE.recordings()), folder)
    assert (folder / "meta.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


LONG = "unique_id,ds,y,x,size\n" + "\n".join(
    f"{name},2020-01-0{1 + i // 24} {i % 24:02d}:00:00,{i + ord(name)},{i % 7 if i % 11 else ''},{ord(name)}"
    for i in range(100)
    for name in "ba"
)


@pytest.mark.parametrize(
    "options", [{"static": ["size"]}, {"static": ["size"], "frequency": "30m"}, {"targets": ["x"]}]
)
def test_a_table_goes_to_the_cache_column_by_column_with_the_same_content(tmp_path, options):
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    table = Table(str(path), **options)
    cached = Cached(str(tmp_path / "c"), table).panel()
    direct = build_panel(table.name, table.recordings())
    assert cached.ids == direct.ids == ("b", "a")
    assert cached.fingerprint == direct.fingerprint
    for part, block in direct.blocks.items():
        assert np.array_equal(cached.blocks[part].values, block.values, equal_nan=True)
        assert (cached.blocks[part].observed is None) == (block.observed is None)


def test_a_bad_cell_on_the_way_to_the_cache_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG.replace("2020-01-02 03:00:00,124,", "2020-01-02 03:00:00,oops,"))
    with pytest.raises(DataError, match=r"column 'y', row 56: 'oops' is not a finite number"):
        Cached(str(tmp_path / "c"), Table(str(path))).panel()
    assert [path.name for path in tmp_path.iterdir()] == ["long.csv"]
