import gzip

import numpy as np
import polars as pl
import pytest

from mambats.formats import DataError, Reading, Roles, read_table

HOUR = 3600 * 10**9
WIDE = "date,a,b\n2020-01-01 00:00:00,1,10\n2020-01-01 01:00:00,2,20\n2020-01-01 02:00:00,3,30\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def stamps_of(path, **options):
    [recording] = read_table(path, **options)
    return recording.streams["target"].stamps


def test_a_wide_table_is_one_recording_of_all_numeric_columns(table):
    [recording] = read_table(table(WIDE.replace("b\n", "b,note\n").replace("0\n", "0,text\n")))
    target = recording.streams["target"]
    assert recording.name == "table"
    assert target.channels == ("a", "b")
    assert np.array_equal(target.values, [[1, 10], [2, 20], [3, 30]])
    assert target.observed is None
    assert np.array_equal(target.stamps, np.datetime64("2020-01-01", "ns").astype(np.int64) + HOUR * np.arange(3))


def test_a_long_table_is_a_recording_a_series(table):
    text = "unique_id,ds,y,x,known,size\n" + "".join(
        f"{name},{day},{value},{value * 2},{value * 3},{size}\n"
        for day in (1, 2, 3)
        for name, value, size in (("z", day, 7), ("m", day * 10, 8))
    )
    first, second = read_table(table(text), Roles(future=["known"], static=["size"]))
    assert (first.name, second.name) == ("z", "m")
    assert first.streams["target"].channels == ("y",)
    assert first.streams["past"].channels == ("x",)
    assert np.array_equal(second.streams["target"].values[:, 0], [10, 20, 30])
    assert np.array_equal(second.streams["future"].values[:, 0], [30, 60, 90])
    assert first.static == {"size": 7.0}
    assert second.static == {"size": 8.0}


def test_chosen_columns_play_their_parts(table):
    [recording] = read_table(table(WIDE), Roles(targets=["b"], past=["a"]))
    assert recording.streams["target"].channels == ("b",)
    assert recording.streams["past"].channels == ("a",)


def test_parquet_and_gzip_read_like_text(table, tmp_path):
    expected = read_table(table(WIDE))[0].streams["target"]
    zipped = table(gzip.compress(WIDE.encode()), "table.csv.gz")
    frame = pl.read_csv(table(WIDE), try_parse_dates=True)
    frame.write_parquet(tmp_path / "table.parquet")
    for path in (zipped, tmp_path / "table.parquet"):
        [recording] = read_table(path)
        assert recording.name == "table"
        assert np.array_equal(recording.streams["target"].values, expected.values)
        assert np.array_equal(recording.streams["target"].stamps, expected.stamps)


@pytest.mark.parametrize(
    "times",
    [
        ("2020-01-02 00:00:00", "2020-01-02 01:00:00"),
        ("2020-01-02T00:00:00Z", "2020-01-02T01:00:00Z"),
        ("2020-01-02T02:00:00+02:00", "2020-01-02T03:00:00+02:00"),
        ("2020-01-02 00:00", "2020-01-02 01:00"),
        ("2020/1/2 0:00", "2020/1/2 1:00"),
        ("01/02/2020 00:00", "01/02/2020 01:00"),
        ("02.01.2020 00:00", "02.01.2020 01:00"),
        ("2020-01-02 00:00:00.000", "2020-01-02 01:00:00.000"),
        ("1577923200", "1577926800"),
        ("1577923200000", "1577926800000"),
        ("1577923200000000", "1577926800000000"),
        ("1577923200000000000", "1577926800000000000"),
        ("1577923200.0", "1577926800.0"),
    ],
)
def test_times_are_read_in_many_spellings(table, times):
    found = stamps_of(table(f"date,a\n{times[0]},1\n{times[1]},2\n"))
    assert found.tolist() == [1577923200 * 10**9, 1577926800 * 10**9]


def test_the_order_of_day_and_month_is_the_one_that_rises(table):
    day_first = "".join(f"{day:02d}/{month:02d}/2020,1\n" for month in (1, 2) for day in range(1, 13))
    steps = np.diff(stamps_of(table("date,a\n" + day_first)))
    assert (steps > 0).all()
    assert steps[0] == 24 * HOUR


def test_whole_numbers_count_steps(table):
    assert np.diff(stamps_of(table("step,a\n0,1\n1,2\n2,4\n"))).tolist() == [10**9, 10**9]


def test_of_two_time_columns_the_one_that_rises_is_taken(table):
    text = "date,time,a\n2020-01-01,2020-01-01 00:00:00,1\n2020-01-01,2020-01-01 01:00:00,2\n"
    assert np.diff(stamps_of(table(text))).tolist() == [HOUR]


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "null", "?"])
def test_empty_cells_are_not_observed(table, cell):
    [recording] = read_table(table(WIDE.replace("2,20", f"2,{cell}")))
    target = recording.streams["target"]
    assert target.observed.tolist() == [[True, True], [True, False], [True, True]]
    assert np.isnan(target.values[1, 1])


def test_missing_hours_become_rows_without_values(table):
    [recording] = read_table(table(WIDE.replace("2020-01-01 02", "2020-01-01 04")), frequency="1h")
    target = recording.streams["target"]
    assert np.diff(target.stamps).tolist() == [HOUR] * 4
    assert target.observed[:, 0].tolist() == [True, True, False, False, True]


def test_separators_marks_and_encodings(table):
    for text, reading in (
        (WIDE.replace(",", ";"), None),
        (WIDE.replace(",", "\t"), None),
        (b"\xef\xbb\xbf" + WIDE.encode(), None),
        (WIDE.replace("b\n", "größe\n").encode("latin-1"), Reading(encoding="latin-1")),
    ):
        [recording] = read_table(table(text), reading=reading)
        assert np.array_equal(recording.streams["target"].values, [[1, 10], [2, 20], [3, 30]])
    assert recording.streams["target"].channels == ("a", "größe")


@pytest.mark.parametrize(("keep", "value"), [("first", 1), ("last", 2)])
def test_duplicate_times_may_be_thinned(table, keep, value):
    text = WIDE.replace("01:00:00,2", "00:00:00,2")
    [recording] = read_table(table(text), reading=Reading(duplicates=keep))
    assert recording.streams["target"].values[0, 0] == value
    assert len(recording.streams["target"]) == 2


LONG = "unique_id,ds,y\na,1,1\nb,1,1\na,2,2\nb,2,2\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "table.csv: the file is empty. Give a table"),
        ("date,a\n", {}, "the table has no rows"),
        ("\n", {}, "line 1: no column names"),
        ("date,a,a\n2020-01-01,1,2\n", {}, "line 1: column 'a' stands there 2 times"),
        ("1,2,3\n4,5,6\n", {}, "line 1: '1,2,3' are values, not column names"),
        (WIDE, {"roles": Roles(targets=["c"])}, "column 'c' is missing; the columns are date, a, b"),
        (WIDE, {"roles": Roles(time="when")}, "column 'when' is missing"),
        (WIDE, {"roles": Roles(targets=["a"], past=["a"])}, "column 'a' was given two parts"),
        ("x,y\nred,1\nblue,2\n", {}, "no time column among x, y. Name it with `time`"),
        ("date,x\n2020-01-01,red\n2020-01-02,blue\n", {}, "no numeric column is left to forecast"),
        (WIDE.replace("3,30", "oops,30"), {}, "column 'a', row 3: 'oops' is not a finite number (1 such"),
        (WIDE.replace("3,30", "inf,30"), {}, "column 'a', row 3: 'inf' is not a finite number"),
        (WIDE.replace("3,30", "red,30"), {"roles": Roles(targets=["a"])}, "column 'a', row 3: 'red' is not a finite"),
        (WIDE.replace("2020-01-01 02", "2019-01-01 02"), {}, "row 3, series 'table': time goes back from 2020"),
        (WIDE.replace("01:00:00", "00:00:00"), {}, "row 2, series 'table': time 2020-01-01T00:00:00 stands"),
        (WIDE.replace("2020-01-01 02:00:00", ""), {}, "column 'date', row 3: None has no time (1 such"),
        (WIDE.replace("2020-01-01 02:00:00", "later"), {}, "row 3: 'later' is not a time like the others"),
        (WIDE.replace("2020-01-01 0", "day "), {"roles": Roles(time="date")}, "'day 0:00:00' is not a time that"),
        (WIDE.replace("01:00:00", "01:07:00"), {"frequency": "1h"}, "row 2: 2020-01-01T01:07:00 is not on the grid"),
        (WIDE, {"frequency": "hourly"}, "frequency is 'hourly': use 15m, 1h, 1d"),
        (WIDE + "2020-01-01 03:00:00,1,2,3,4\n", {}, "the table cannot be read"),
        (WIDE.replace("3,30", "3,30\xe9").encode("latin-1"), {}, "the file is not UTF-8. Save it as UTF-8"),
        (WIDE.replace("b\n", "b\xe9\n").encode("latin-1"), {}, "line 1 cannot be read as utf-8"),
        (LONG.replace("a,2", "a,1"), {}, "row 3, series 'a': time 1970-01-01T00:00:01 stands there twice"),
        (LONG.replace("b,1", ",1"), {}, "column 'unique_id', row 2: the series has no name"),
        (LONG.replace("y\n", "y,s\n").replace("1\n", "1,5\n").replace("2\n", "2,6\n"), {"roles": Roles(static=["s"])},
         "column 's': static, yet series 'a' has more than one value"),
    ],
)  # fmt: skip
def test_bad_tables_say_what_where_and_what_to_do(table, text, options, message):
    path = table(text)
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "frequency" in message


def test_a_late_bad_time_names_its_row(table):
    rows = "".join(f"2020-01-01 00:{i // 60:02d}:{i % 60:02d},{i}\n" for i in range(300))
    with pytest.raises(DataError, match=r"row 251: 'noon' is not a time like the others \(1 such"):
        read_table(table("date,a\n" + rows.replace("00:04:10", "noon").replace("2020-01-01 noon", "noon")))


def test_missing_files_and_wrong_kinds_are_named(table, tmp_path):
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_table(table("not parquet", "table.parquet"))
    with pytest.raises(DataError, match="line 1 cannot be read"):
        read_table(table("not gzip", "table.csv.gz"))


def test_unknown_choices_are_refused():
    with pytest.raises(DataError, match="choose refuse, first or last"):
        Reading(duplicates="any")
