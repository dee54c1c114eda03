import gzip
import socket

import platformdirs
import pooch
import pytest

from mambats.data import DataError
from mambats_datasets import ChecksumError, DownloadError, NotFoundError
from mambats_datasets.ett import RECORDS
from mambats_datasets.source import locate, verify


@pytest.fixture
def here(make, claim, tmp_path):
    path = make("ett")(tmp_path)
    return path, claim(RECORDS["ETTh1"], path)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))


def test_a_file_is_found_in_the_root_or_below_plain_or_zipped(here, tmp_path):
    path, record = here
    assert locate(record, str(tmp_path)) == path
    below = tmp_path / "timeseries"
    below.mkdir()
    path.rename(below / path.name)
    assert locate(record, str(tmp_path)) == below / path.name
    zipped = below / f"{path.name}.gz"
    zipped.write_bytes(gzip.compress((below / path.name).read_bytes()))
    (below / path.name).unlink()
    assert locate(record, str(tmp_path)) == zipped


def test_the_argument_goes_before_the_environment(here, tmp_path, monkeypatch):
    path, record = here
    monkeypatch.setenv("MAMBATS_DATA", str(tmp_path))
    assert locate(record, None) == path
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(NotFoundError, match=r"ETTh1.csv \(or .gz\) is not in .*other"):
        locate(record, str(other))


def test_a_damaged_file_is_refused(here, tmp_path):
    path, record = here
    path.write_text(path.read_text().replace("2016", "2017", 1))
    with pytest.raises(ChecksumError, match="has sha256 .* delete it and get it again"):
        locate(record, str(tmp_path))


def test_a_truncated_archive_is_refused(here, tmp_path):
    path, record = here
    zipped = tmp_path / "ETTh1.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes())[:-100])
    with pytest.raises(ChecksumError, match="cannot be read"):
        verify(zipped, record)


def test_without_network_the_way_out_is_said(here):
    with pytest.raises(DownloadError) as caught:
        locate(here[1], None)
    assert "could not be downloaded" in str(caught.value)
    assert "MAMBATS_DATA" in str(caught.value)
    assert here[1].url in str(caught.value)
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_download_is_kept_and_verified(here, tmp_path, monkeypatch):
    path, record = here
    asked = []

    def retrieve(url, known_hash, fname, folder, **_options):
        asked.append((url, known_hash))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / fname).write_bytes(path.read_bytes())
        return str(folder / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    for _ in range(2):
        assert locate(record, None).read_bytes() == path.read_bytes()
    assert asked == [(record.url, record.sha256)]


def test_another_file_from_the_network_is_refused(here, monkeypatch):
    def retrieve(*_args, **_options):
        raise ValueError("hash of downloaded file does not match")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(ChecksumError, match="is not the published file"):
        locate(here[1], None)
