import pytest

from mambats.formats import DataError
from mambats.formats.cmapss import SENSORS, read_cmapss
from mambats.formats.repair import REPAIR
from mambats_datasets.fakes.cmapss import fake


@pytest.fixture
def folder(tmp_path):
    return fake(tmp_path / "cmapss")


def edit(path, change):
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_one_recording_an_engine(folder):
    engines = read_cmapss(folder)
    assert [engine.name for engine in engines] == ["FD001_train_001", "FD001_train_002", "FD001_train_003"]
    assert [len(engine.streams["sensors"]) for engine in engines] == [12, 9, 15]
    second = engines[1]
    assert second.static == {"unit": 2}
    assert second.streams["sensors"].channels == SENSORS.channels
    assert second.streams["sensors"].units[:3] == ("degR",) * 3
    assert second.streams["settings"].values[0].tolist() == [0.0023, -0.0003, 100]
    assert second.streams["sensors"].stamps.tolist() == [cycle * 10**9 for cycle in range(1, 10)]
    assert second.truth["rul"].values[:, 0].tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_test_engines_end_before_they_fail(folder):
    engines = read_cmapss(folder, part="test")
    assert [engine.truth["rul"].values[-1, 0] for engine in engines] == [7, 30, 4]
    assert engines[0].truth["rul"].values[0, 0] == 18
    (folder / "RUL_FD001.txt").unlink()
    assert all(not engine.truth for engine in read_cmapss(folder, part="test"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:4], lines[4] + " 7", *lines[5:]], "line 5: 27 columns, the first line has 26"),
        (lambda lines: [*lines[:4], lines[4].replace("100 ", "N/A? ", 1), *lines[5:]], "line 5, column 5: 'N/A.'"),
        (lambda lines: [*lines, lines[0]], "line 37: unit 1 begins a second time"),
        (lambda lines: ["1.5" + lines[0][1:], *lines[1:]], "line 1: unit 1.5 and cycle 1.0, needed whole"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], "line 5: the clock is the same as one before"),
        (lambda lines: [line[:-12] for line in lines], "2[45] columns, needed 26"),
    ],
)
def test_faults_are_located(folder, change, message):
    edit(folder / "train_FD001.txt", change)
    with pytest.raises(DataError, match=message):
        read_cmapss(folder)


def test_a_repaired_clock_is_reported_by_its_engine(folder):
    edit(folder / "train_FD001.txt", lambda lines: [*lines[:4], lines[3], *lines[4:]])
    engines = read_cmapss(folder, policy=REPAIR)
    assert len(engines[0].streams["sensors"]) == 12
    assert [len(engine.repairs) for engine in engines] == [1, 0, 0]
    assert engines[0].repairs[0].endswith("dropped, the first is line 5")


def test_missing_files_are_named(folder):
    with pytest.raises(DataError, match=r"train_FD003.txt: no such file"):
        read_cmapss(folder, "FD003")
    (folder / "RUL_FD001.txt").write_text("7\n30\n")
    with pytest.raises(DataError, match="2 rows of 1 columns, needed one a test unit: 3 rows"):
        read_cmapss(folder, part="test")


def test_the_real_engines(data_root):
    train = read_cmapss(data_root / "fusion/cmapss")
    test = read_cmapss(data_root / "fusion/cmapss", part="test")
    assert sum(len(engine.streams["sensors"]) for engine in train) == 20_631
    assert sum(len(engine.streams["sensors"]) for engine in test) == 13_096
    assert (len(train), len(test)) == (100, 100)
    if test[0].truth:  # the file of remaining lives is not everywhere
        assert sum(engine.truth["rul"].values[-1, 0] for engine in test) == 7552
