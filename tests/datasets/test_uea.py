import gzip
import hashlib
from dataclasses import replace

import pytest

from mambats.data import DataError
from mambats_datasets import UEA, ChecksumError, uea
from mambats_datasets.fakes.uea import fake, fake_unequal


@pytest.fixture
def root(claim, tmp_path, monkeypatch):
    packed, plain = fake(tmp_path / "uea"), fake_unequal(tmp_path / "uea")
    sha256 = hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest()
    motions = replace(uea.RECORDS["BasicMotions_TRAIN"], sha256=sha256)
    monkeypatch.setitem(uea.RECORDS, "BasicMotions_TRAIN", motions)
    monkeypatch.setitem(uea.RECORDS, "JapaneseVowels_TRAIN", claim(uea.RECORDS["JapaneseVowels_TRAIN"], plain))
    return tmp_path


def test_cases_are_found_verified_and_read(root):
    cases = UEA(str(root)).cases()
    assert (len(cases.recordings), len(cases.classes)) == (8, 4)
    assert cases.recordings[0].streams["input"].stamps[1] == 100_000_000
    assert [len(case.streams["input"]) for case in UEA(str(root), "JapaneseVowels").recordings()] == [7, 29, 12]
    with pytest.raises(DataError, match="part is 'val'"):
        UEA(part="val")
    fake(root / "uea", seed=1)
    with pytest.raises(ChecksumError):
        UEA(str(root)).cases()


def test_the_real_problem(data_root):
    for part in ("train", "test"):
        cases = UEA(str(data_root), part=part).cases()
        assert len(cases.recordings) == 40
        assert {case.streams["input"].values.shape for case in cases.recordings} == {(100, 6)}
