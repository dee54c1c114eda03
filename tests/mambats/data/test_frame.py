"""A frame reads as a file with the same cells does, and is refused with the same words."""

import io
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mambats.data import Cached, DataError, Frame, Reading, Table, WindowDataModule
from mambats.recipe import RecipeError, describe

HOURS = [datetime(2020, 1, 1) + timedelta(hours=i) for i in range(4)]
WIDE = pl.DataFrame({"when": HOURS, "a": [1.0, None, 3.0, 4.0], "b": [10, 20, 30, 40], "note": list("wxyz")})
LONG = pl.DataFrame(
    {
        "unique_id": ["z", "m"] * 3,
        "ds": [1, 1, 2, 2, 3, 3],
        "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "known": [1, 2, 3, 4, 5, 6],
        "size": [7, 8] * 3,
    }
)


def to_pandas(frame):
    pytest.importorskip("pandas")
    return frame.to_pandas()


KINDS = pytest.mark.parametrize("kind", [pl.DataFrame, pl.DataFrame.lazy, to_pandas], ids=["polars", "lazy", "pandas"])


def same(one, other):
    assert [r.name for r in one] == [r.name for r in other]
    for left, right in zip(one, other, strict=True):
        assert left.streams.keys() == right.streams.keys() and left.static == right.static
        for part, stream in left.streams.items():
            assert stream.channels == right.streams[part].channels
            assert np.array_equal(stream.stamps, right.streams[part].stamps)
            assert np.array_equal(stream.values, right.streams[part].values, equal_nan=True)
            assert (stream.observed is None) == (right.streams[part].observed is None)


@KINDS
@pytest.mark.parametrize(
    ("frame", "roles"),
    [
        (WIDE, {}),
        (WIDE, {"targets": ["b"], "past": ["a"]}),
        (LONG, {}),
        (LONG, {"future": ["known"], "static": ["size"]}),
        (WIDE[[0, 1, 3]], {"frequency": "1h"}),
    ],
    ids=["wide", "chosen", "long", "parts", "grid"],
)
def test_a_frame_reads_as_a_file_of_the_same_cells(tmp_path, frame, roles, kind):
    frame.write_csv(tmp_path / "cells.csv")
    same(Frame(kind(frame), "cells", **roles).recordings(), Table(str(tmp_path / "cells.csv"), **roles).recordings())


BAD = {
    "missing column": ("ds,a\n1,2\n", {"targets": ["b"]}),
    "column with two parts": ("ds,a,b\n1,2,3\n", {"targets": ["a"], "past": ["a"]}),
    "no rows": ("ds,a\n", {}),
    "no time": ("a,b\n1,2\n", {}),
    "nothing to forecast": ("ds,note\n2020-01-01,x\n", {}),
    "time falls": ("ds,a\n2,1\n1,1\n", {}),
    "time repeats": ("ds,a\n2020-01-01,1\n2020-01-01,2\n", {}),
    "time absent": ("ds,a\n2020-01-01,1\n,2\n", {}),
    "series without a name": ("unique_id,ds,y\nz,1,1\n,2,1\n", {}),
    "text among numbers": ("ds,a\n1,2\n2,3\n3,high\n", {}),
    "infinite": ("ds,a\n1,2\n2,inf\n", {}),
    "fact that changes": ("unique_id,ds,y,s\nz,1,1,1\nz,2,1,2\n", {"static": ["s"]}),
    "off the grid": (
        "ds,a\n2020-01-01 00:00:00,1\n2020-01-01 00:30:00,1\n2020-01-01 02:00:00,1\n",
        {"frequency": "1h"},
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_frame_is_refused_as_the_file_is(tmp_path, case):
    text, roles = BAD[case]
    path = tmp_path / "cells.csv"
    path.write_text(text)
    with pytest.raises(DataError) as of_file:
        Table(str(path), **roles).recordings()
    with pytest.raises(DataError) as of_frame:
        Frame(pl.read_csv(io.StringIO(text), infer_schema=False), "cells", **roles).recordings()
    assert str(of_frame.value) == str(of_file.value).replace(str(path), "cells")


def test_typed_columns_are_refused_by_cell_too():
    with pytest.raises(DataError, match=r"load, column 'a', row 2: inf is not a finite number"):
        Frame(pl.DataFrame({"ds": [1, 2], "a": [1.0, float("inf")]}), "load").recordings()


def test_duplicate_times_may_be_thinned():
    frame = pl.DataFrame({"ds": [1, 1, 2], "a": [1.0, 2.0, 3.0]})
    [kept] = Frame(frame, reading=Reading(duplicates="last")).recordings()
    assert kept.streams["target"].values.tolist() == [[2.0], [3.0]]


class TestPandas:
    @pytest.fixture(autouse=True)
    def pandas(self):
        self.pd = pytest.importorskip("pandas")

    def test_an_index_of_times_is_the_time_column(self):
        frame = self.pd.DataFrame({"a": [1.0, 2.0]}, index=self.pd.date_range("2020-01-01", periods=2, freq="h"))
        [recording] = Frame(frame).recordings()
        start = np.datetime64("2020-01-01", "ns").astype(np.int64)
        assert recording.streams["target"].stamps.tolist() == [start, start + 3600 * 10**9]
        assert recording.streams["target"].channels == ("a",)

    def test_a_zoned_index_is_read_in_utc(self):
        zoned = self.pd.date_range("2020-06-01 02:00", periods=2, freq="h", tz="Europe/Berlin")
        [recording] = Frame(self.pd.DataFrame({"a": [1.0, 2.0]}, index=zoned)).recordings()
        assert recording.streams["target"].stamps[0] == np.datetime64("2020-06-01T00:00", "ns").astype(np.int64)

    def test_empty_cells_are_not_observed(self):
        frame = self.pd.DataFrame({"ds": [1, 2], "a": self.pd.array([1, None], dtype="Int64"), "b": [None, 2.0]})
        [recording] = Frame(frame).recordings()
        assert recording.streams["target"].observed.tolist() == [[True, False], [False, True]]

    def test_a_cell_of_text_is_named_with_its_row(self):
        with pytest.raises(DataError, match=r"load, column 'a', row 2: 'x' is not a finite number"):
            Frame(self.pd.DataFrame({"ds": [1, 2, 3], "a": [1, "x", 2]}), "load").recordings()

    def test_numbers_written_in_two_ways_are_read(self):
        [recording] = Frame(self.pd.DataFrame({"ds": [1, 2, 3], "a": [None, "3", 4]})).recordings()
        target = recording.streams["target"]
        assert target.observed.tolist() == [[False], [True], [True]] and target.values[1:].tolist() == [[3.0], [4.0]]

    def test_a_repeated_column_is_named(self):
        frame = self.pd.DataFrame([[1, 2, 3]], columns=["ds", "a", "a"])
        with pytest.raises(DataError, match="column 'a' stands there 2 times"):
            Frame(frame).recordings()


@pytest.mark.parametrize("wrong", [[1, 2], {"ds": [1]}, np.zeros((3, 2)), "file.csv"])
def test_what_is_no_frame_is_refused(wrong):
    with pytest.raises(DataError, match="give a DataFrame of polars or pandas"):
        Frame(wrong, "load").recordings()


def test_a_frame_feeds_the_data_module():
    rows = pl.DataFrame({"ds": range(100), "a": np.sin(np.arange(100.0))})
    data = WindowDataModule(Frame(rows, "waves"), lookback=8, horizon=4)
    data.setup()
    assert data.name == "waves" and data.channels == ("a",)
    assert next(iter(data.train_dataloader())).values.shape == (32, 12, 1)
    changed = WindowDataModule(Frame(rows.with_columns(pl.col("a") + 1), "waves"), 8, 4)
    changed.setup()
    assert data.fingerprint != changed.fingerprint


def test_a_frame_enters_neither_recipe_nor_cache(tmp_path):
    source = Frame(WIDE)
    with pytest.raises(RecipeError, match="frame"):
        describe(source)
    with pytest.raises(DataError, match="Parquet"):
        Cached(str(tmp_path / "cache"), source).panel()
    assert not list(tmp_path.iterdir())
