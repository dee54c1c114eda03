import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.kitti import boxes, rows
from mambats.formats.kitti.rows import read_rows
from mambats.formats.repair import REPAIR

LINE = "3 1 Car 0 0 -1.5 10.5 20 30 40 1.5 1.6 4 -2 1.6 20 -1.5"


def table(folder, text):
    path = folder / "0000.txt"
    path.write_text(text)
    return path


def words(layout, count, seed):
    rng = np.random.default_rng(seed)
    lines = []
    for row in range(count):
        cells = [repr(float(v)) for v in rng.normal(size=len(layout.columns))]
        cells[0] = str(row)
        if "class" in layout.columns:
            cells[layout.columns.index("class")] = layout.words[rng.integers(len(layout.words))]
        lines.append(layout.separator.join(cells))
    return "\n".join(lines) + "\n"


@given(
    st.sampled_from([boxes.TRACKING, boxes.OBJECT, boxes.POINTRCNN, boxes.RRC]), st.integers(1, 30), st.integers(0, 99)
)
def test_reading_at_once_is_reading_line_by_line(tmp_path_factory, layout, count, seed):
    path = table(tmp_path_factory.mktemp("t"), words(layout, count, seed))
    fast = rows._read_at_once(path.read_bytes(), layout, layout.columns)
    slow = rows._read_by_line(path, path.read_bytes(), layout, REPAIR)
    assert fast is not None
    np.testing.assert_array_equal(fast, slow.values)
    assert slow.lines.tolist() == list(range(1, count + 1))


@pytest.mark.parametrize(
    "edit", [lambda t: t.replace(" ", "  "), lambda t: t + "\n\n", lambda t: t.replace("\n", "\r\n"), str.rstrip]
)
def test_spaces_and_blank_lines_are_no_fault(tmp_path, edit):
    read = read_rows(table(tmp_path, edit(f"{LINE}\n{LINE}\n")), boxes.TRACKING)
    assert read.values.shape == (2, 17)
    assert read.values[1].tolist() == [3, 1, 0, 0, 0, -1.5, 10.5, 20, 30, 40, 1.5, 1.6, 4, -2, 1.6, 20, -1.5]


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_rows(table(tmp_path, ""), boxes.RRC).values.shape == (0, 6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE + " 0.5", r"line 3: has 18 columns, needed 17: frame track class"),
        (LINE[:-5], "line 3: has 16 columns, needed 17"),
        (LINE.replace("Car", "Horse"), "line 3: class 'Horse' is unknown, known are Car, Van"),
        (LINE.replace("20 -1.5", "20 one"), "line 3: yaw is 'one', needed a number"),
        (LINE.replace("1.6 4", "1.6 nan"), "line 3: l is nan, needed a finite number"),
        (LINE.replace("3 1", "3.5 1"), r"line 3: frame is 3.5, needed a whole number from 0 \(1 such rows\)"),
        (LINE.replace("3 1", "3 -2"), "line 3: track is -2, needed a whole number from -1"),
        (LINE.replace("1.5 1.6 4", "1.5 -1.6 4"), r"line 3: h w l are \[1.5, -1.6, 4.0\] m, needed sizes above 0"),
        (
            LINE.replace("10.5 20 30 40", "30.5 20 30 40"),
            "line 3: left top right bottom are .*: right or bottom come first",
        ),
    ],
)
def test_faults_are_named_by_line(tmp_path, line, message):
    path = table(tmp_path, f"{LINE}\n\n{line}\n{LINE}\n")
    with pytest.raises(DataError, match=rf"0000\.txt, {message}"):
        boxes.check_boxes(read_rows(path, boxes.TRACKING))


def test_dont_care_has_no_size(tmp_path):
    path = table(tmp_path, "0 -1 DontCare -1 -1 -10 10 20 30 40 -1 -1 -1 -1000 -1000 -1000 -10\n")
    boxes.check_boxes(read_rows(path, boxes.TRACKING))


def test_a_torn_last_line_is_refused_or_left_out_and_reported(tmp_path):
    path = table(tmp_path, f"{LINE}\n{LINE}\n{LINE[:20]}")
    with pytest.raises(DataError, match="line 3: has .* columns.* cut off.*torn='repair'"):
        read_rows(path, boxes.TRACKING)
    read = read_rows(path, boxes.TRACKING, REPAIR)
    assert len(read.values) == 2
    assert read.repairs == (f"{path}: 1 row that is cut off, left out, line 3",)


def test_frames_out_of_order_are_refused_or_sorted_and_reported(tmp_path):
    frames = [0, 0, 2, 1, 1, 3]
    path = table(tmp_path, "".join(f"{frame},0,0,9,9,{row}\n" for row, frame in enumerate(frames)))
    read = read_rows(path, boxes.RRC)
    with pytest.raises(DataError, match="line 4: frame 1 after 2 .1 such rows.: frames are out of order"):
        boxes.in_order(read)
    mended = boxes.in_order(read, REPAIR)
    assert mended.column("frame").tolist() == [0, 0, 1, 1, 2, 3]
    assert mended.column("score").tolist() == [0, 1, 3, 4, 2, 5]
    assert mended.repairs == (f"{path}: frames fall at 1 rows, sorted, the first is line 4",)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        read_rows(tmp_path / "none.txt", boxes.RRC)
