import pytest

from mambats.data import DataError
from mambats_datasets import CMAPSS, ChecksumError, cmapss
from mambats_datasets.fakes.cmapss import fake


@pytest.fixture
def root(claim, tmp_path, monkeypatch):
    folder = fake(tmp_path / "cmapss")
    for file, record in list(cmapss.RECORDS.items()):
        monkeypatch.setitem(cmapss.RECORDS, file, claim(record, folder / file))
    return tmp_path


def test_engines_are_found_verified_and_read(root):
    assert [len(engine.streams["sensors"]) for engine in CMAPSS(str(root)).recordings()] == [12, 9, 15]
    assert [engine.truth["rul"].values[-1, 0] for engine in CMAPSS(str(root), part="test").recordings()] == [7, 30, 4]
    (root / "cmapss/RUL_FD001.txt").unlink()
    assert not any(engine.truth for engine in CMAPSS(str(root), part="test").recordings())
    (root / "cmapss/train_FD001.txt").write_text("1 2 3\n")
    with pytest.raises(ChecksumError):
        CMAPSS(str(root)).recordings()
    with pytest.raises(DataError, match="part is 'val': choose train or test"):
        CMAPSS(part="val")


def test_other_subsets_are_read_unverified(root):
    (root / "cmapss/train_FD001.txt").rename(root / "cmapss/train_FD003.txt")
    assert len(CMAPSS(str(root), "FD003").recordings()) == 3


def test_the_real_engines(data_root):
    assert len(CMAPSS(str(data_root)).recordings()) == 100
    assert len(CMAPSS(str(data_root), part="test").recordings()) == 100
