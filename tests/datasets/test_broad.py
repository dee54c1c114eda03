import pytest

from mambats_datasets import Broad, ChecksumError, broad
from mambats_datasets.fakes.broad import fake


@pytest.fixture
def root(claim, tmp_path, monkeypatch):
    path = fake(tmp_path / "broad")
    monkeypatch.setitem(broad.RECORDS, path.stem, claim(broad.RECORDS[path.stem], path))
    return tmp_path


def test_trials_are_found_verified_and_read(root):
    trial = "10_undisturbed_slow_translation_A"
    [recording] = Broad(str(root), [trial]).recordings()
    assert recording.name == trial
    assert set(recording.streams) == {"imu", "magnetometer"}
    assert set(recording.truth) == {"pose", "movement"}
    path = root / f"broad/{trial}.mat"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ChecksumError, match="delete it and get it again"):
        Broad(str(root), [trial]).recordings()


def test_trials_without_a_known_checksum_are_read(root):
    path = root / "broad/10_undisturbed_slow_translation_A.mat"
    path.rename(path.with_name("21_undisturbed_fast_combined.mat"))
    assert broad.record("21_undisturbed_fast_combined").sha256 == ""
    assert len(Broad(str(root), ["21_undisturbed_fast_combined"]).recordings()) == 1


def test_the_real_trials(data_root):
    for recording in Broad(str(data_root)).recordings():
        assert recording.static["rate"] == pytest.approx(2000 / 7)
        assert recording.repairs[0].count("marked unobserved") == 1
