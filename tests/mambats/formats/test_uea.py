import gzip

import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.repair import REPAIR
from mambats.formats.uea import read_uea
from mambats_datasets.fakes.uea import MOTIONS, fake, fake_unequal


def text(path):
    return gzip.decompress(path.read_bytes()).decode()


def test_cases_of_equal_lengths_are_read(tmp_path):
    cases = read_uea(fake(tmp_path), rate=10)
    assert (cases.name, cases.classes, len(cases.recordings)) == ("BasicMotions", MOTIONS, 8)
    case = cases.recordings[5]
    assert case.name == "BasicMotions_TRAIN_0005"
    assert case.streams["input"].values.shape == (20, 6)
    assert case.streams["input"].stamps[:3].tolist() == [0, 100_000_000, 200_000_000]
    assert cases.classes[int(case.truth["class"].values[0, 0])] == "Running"
    line = text(fake(tmp_path)).splitlines()[-3]
    assert case.streams["input"].values[:, 2].tolist() == [float(v) for v in line.split(":")[2].split(",")]


def test_cases_of_unequal_lengths_are_read(tmp_path):
    cases = read_uea(fake_unequal(tmp_path))
    assert [len(case.streams["input"]) for case in cases.recordings] == [7, 29, 12]
    assert [case.truth["class"].values[0, 0] for case in cases.recordings] == [0, 1, 0]
    assert cases.classes == ("1", "2")


def test_absent_values_and_targets(tmp_path):
    path = tmp_path / "a.ts"
    path.write_text("@problemName a\n@univariate true\n@targetLabel true\n@data\n1,?,3,NaN:2.5\n# note\n\n4,5:-1\n")
    cases = read_uea(path)
    first = cases.recordings[0]
    assert first.streams["input"].observed[:, 0].tolist() == [True, False, True, False]
    assert "a.ts, line 5: 2 of 4 rows" in first.repairs[0]
    assert [case.truth["target"].values[0, 0] for case in cases.recordings] == [2.5, -1]
    path.write_text("@univariate true\n@classLabel false\n@data\n1,2\n")
    assert read_uea(path).recordings[0].truth == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("@data", "", "before @data"),
        ("@seriesLength 20", "@seriesLength 21", "line 11: 20 steps, the header says 21"),
        ("@dimensions 6", "@dimensions 7", "line 11: 6 dimensions, needed 7"),
        ("@dimensions 6", "@dimensions six", r"line 6: '@dimensions six' cannot be read"),
        ("@timeStamps false", "@timeStamps true", "line 3: cases with time stamps are not read"),
        (":Running", ":Flying", "line 12: class 'Flying' is none of Standing"),
        (":Running", "", "line 12: 5 dimensions, needed 6"),
    ],
)
def test_faults_are_located(tmp_path, old, new, message):
    path = tmp_path / "b.ts"
    path.write_text(text(fake(tmp_path)).replace(old, new))
    with pytest.raises(DataError, match=message):
        read_uea(path)


def test_bad_cells_and_torn_files_are_named(tmp_path):
    path = tmp_path / "b.ts"
    path.write_text("@univariate false\n@classLabel true a\n@data\n1,2:3,x:a\n")
    with pytest.raises(DataError, match="line 4, dimension 1: could not convert string to float: 'x'"):
        read_uea(path)
    path.write_text("@univariate false\n@classLabel true a\n@data\n1,2:3:a\n")
    with pytest.raises(DataError, match=r"line 4: dimensions have lengths \[2, 1\]"):
        read_uea(path)
    path.write_text("@classLabel true a\n@data\n")
    with pytest.raises(DataError, match="no cases behind @data"):
        read_uea(path)
    packed = fake(tmp_path)
    packed.write_bytes(packed.read_bytes()[:-400])
    with pytest.raises(DataError, match="the archive is cut off"):
        read_uea(packed)
    assert 0 < len(read_uea(packed, policy=REPAIR).recordings) < 8
    with pytest.raises(DataError, match="rate is 0, needed samples a second"):
        read_uea(path, rate=0)


def test_the_real_problems(data_root):
    paths = sorted((data_root / "timeseries/uea").glob("*.ts.gz"))
    assert paths
    shapes = {"BasicMotions": (40, 100, 6, 4), "JapaneseVowels": ((270, 370), None, 12, 9)}
    for path in paths:
        cases = read_uea(path)
        count, length, width, classes = shapes[cases.name]
        assert len(cases.recordings) in np.atleast_1d(count)
        assert len(cases.classes) == classes
        assert {case.streams["input"].values.shape[1] for case in cases.recordings} == {width}
        if length:
            assert {len(case.streams["input"]) for case in cases.recordings} == {length}
