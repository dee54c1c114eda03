import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.repair import REPAIR
from mambats.formats.sheet import read_sheet


@pytest.fixture
def sheet(tmp_path):
    def write(text, policy=None, name="log.csv"):
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(data)
        return read_sheet(path) if policy is None else read_sheet(path, policy)

    return write


ROWS = [[1.5, -2], [3, 4e-5]]


@pytest.mark.parametrize(
    "text",
    [
        "t,a,b\n1,1.5,-2\n2,3,4e-5\n",
        "t,a,b\r\n1,1.5,-2\r\n2,3,4e-5",
        "# t a b\n  1 1.5  -2 \n\t2\t3\t4e-5  \n",
        "#t,a,b\n\n1, 1.5, -2\n# break\n2 ,3,4e-5\n\n",
        "\ufefft;a;b\n1;1.5;-2\n2;3;4e-5\n",
        '"t","a","b"\n"1",1.5,"-2"\n2,3,4e-5\n',
    ],
)
def test_one_table_in_six_spellings(sheet, text):
    read = sheet(text)
    assert read.header == ("t", "a", "b")
    assert read.numbers((1, 2)).tolist() == ROWS
    assert read.stamps(0, "s").tolist() == [10**9, 2 * 10**9]


@given(
    st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 3), min_size=1, max_size=6),
    st.sampled_from([",", ";", " ", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_regular_and_other_files_are_read_alike(tmp_path_factory, rows, separator, end, named):
    """A comment between the rows leads around the quick way."""
    path = tmp_path_factory.mktemp("sheet") / "a.txt"
    lines = [separator.join("tab")] * named + [separator.join(map(repr, row)) for row in rows]
    odd = [*lines[: named + 1], "# note", *lines[named + 1 :]]
    for last in ("", end):
        path.write_bytes((end.join(lines) + last).encode())
        first = read_sheet(path)
        path.write_bytes((end.join(odd) + last).encode())
        second = read_sheet(path)
        assert first.header == second.header == (("t", "a", "b") if named else ())
        for sheet in (first, second):
            assert sheet.numbers((0, 1, 2)).tolist() == [list(row) for row in rows]
        assert first.place.at(0) == second.place.at(0)
        if len(rows) > 1:
            assert int(second.place.at(1).rpartition(" ")[2]) == int(first.place.at(1).rpartition(" ")[2]) + 1


def test_files_without_names_and_with_gaps(sheet):
    read = sheet(gzip.compress(b"1 nan 2\n2 3 NaN\n") + gzip.compress(b"3 4 5\n"), name="log.txt.gz")
    assert read.header == ()
    assert np.isnan(read.numbers((1, 2))).tolist() == [[True, False], [False, True], [False, False]]
    assert np.isnan(sheet("t,a\n1,\n2,NA\n").numbers((1,))).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,a\n1,2\n\n3\n4,5\n", r"log.csv, line 4: 1 columns, the first line has 2 \(1 such lines\)"),
        ("t,a\n1,2\n2,3,4\n", "log.csv, line 3: 3 columns, the first line has 2"),
        ("t,a,b\n1,2\n1,2,3,4\n1,2,3\n", r"log.csv, line 2: 2 columns, the first line has 3 \(2 such lines\)"),
        ("t,a,b\n1,2\n2,3\n", "log.csv, line 2: 2 columns, the first line has 3"),
        ("t,a,b\n1,2,3\n2,3", "log.csv, line 3: cut off after 2 of 3 columns.*torn='repair'"),
        ("", "log.csv: the file is empty"),
        ("# only words\n\n", "log.csv: no rows in 14 bytes"),
        ("t,a\n", r"log.csv: a header \(t, a\) and no rows"),
    ],
)
def test_bad_shapes_are_named_with_their_line(sheet, text, message):
    with pytest.raises(DataError, match=message):
        sheet(text)


def test_bad_cells_are_named_with_line_and_column(sheet):
    read = sheet("# note\nt,a,b\n1,2,3\nx,2,3\n3,2,O.5\n")
    assert read.numbers((1,)).tolist() == [[2], [2], [2]]
    with pytest.raises(DataError, match=r"line 5, column 'b': 'O.5' is not a number \(1 such"):
        read.numbers((1, 2))
    with pytest.raises(DataError, match="line 4: 'x' is not a time"):
        read.stamps(0, "s")


def test_torn_files_are_read_up_to_the_tear_where_asked(sheet):
    read = sheet("t,a,b\n1,2,3\n2,3", REPAIR)
    assert read.numbers((1,)).tolist() == [[2]]
    assert read.repairs[0].endswith("1 rows cut off at the end of the file, dropped, line 3")
    packed = gzip.compress("".join(f"{row} {row * 7 % 13} 5\n" for row in range(999)).encode())
    with pytest.raises(DataError, match="the archive is cut off after"):
        sheet(packed[:-30], name="a.txt.gz")
    cut = sheet(packed[:-60], REPAIR, name="a.txt.gz")
    rows = cut.frame.height
    assert 0 < rows < 999
    assert cut.numbers((1,))[:, 0].tolist() == [row * 7 % 13 for row in range(rows)]
    assert cut.repairs[0].endswith(f"the archive is cut off, read up to line {rows}")
    with pytest.raises(DataError, match="not a readable gzip file"):
        sheet("t,a\n1,2\n", name="a.csv.gz")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: no such file"):
        read_sheet(tmp_path / "none.csv")
