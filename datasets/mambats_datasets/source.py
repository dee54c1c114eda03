"""What is known about a corpus, and how its file is found, fetched and verified."""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mambats.formats.error import DataError

#: Folders of a data root in which corpora stand, besides the root itself.
BELOW = ("timeseries", "fusion")


class NotFoundError(DataError, FileNotFoundError):
    """A corpus is neither here nor to be had without the user's help."""


class ChecksumError(DataError):
    """A file is not the published one."""


class DownloadError(NotFoundError):
    """A corpus is not here and the network did not give it."""


@dataclass(frozen=True)
class SourceRecord:
    """One published file.

    Args:
        name: Name of the data set.
        file: Name of the plain file, below a data root (also looked for in `timeseries/`, in `fusion/` and gzipped).
        url: Where it is published, pinned to a version.
        sha256: Of the plain file, lower-case hex; empty where it is not known, the file is then not verified.
        bytes: Size of the plain file, None where it is not known.
        licence: Under which it may be used.
        citation: Whom to cite.
        units: What the columns measure.
        packaged: Python package that carries the file, empty when none does.
        member: Path of the file inside the archive at `url`, empty when the url is the file itself.
    """

    name: str
    file: str
    url: str
    sha256: str
    bytes: int | None
    licence: str
    citation: str
    units: str
    packaged: str = ""
    member: str = ""


def locate(record: SourceRecord, root: str | None) -> Path:
    """Return a verified local file, downloading it if need be.

    Looked for in `root`, else in the folder named by MAMBATS_DATA, else in the user's cache (after a download).

    Args:
        record: Which file.
        root: Folder of local data, or None.

    Raises:
        NotFoundError: If a root was given or set and the file is not there.
        DownloadError: If it has to be downloaded and cannot be.
        ChecksumError: If the file is not the published one.
    """
    chosen = root or os.environ.get("MAMBATS_DATA")
    path = _below(Path(chosen).expanduser(), record) if chosen else None
    if root and path is None:
        raise NotFoundError(
            f"{record.name}: {record.file} (or .gz) is not in {root} nor in its {' or '.join(BELOW)}. "
            f"Give the folder that holds it (`root`), or leave `root` out to download it from {record.url}."
        )
    path = path or _downloaded(record)
    verify(path, record)
    return path


def locate_folder(name: str, url: str, root: str | None) -> Path:
    """Return the local folder of a corpus that is not downloaded file by file.

    Looked for in `root`, else in the folder named by MAMBATS_DATA.

    Args:
        name: Of the folder, `euroc/MH_01_easy`.
        url: Where it is published.
        root: Folder of local data, or the folder itself, or None.

    Raises:
        NotFoundError: If it is not there.
    """
    chosen = root or os.environ.get("MAMBATS_DATA")
    if not chosen:
        raise NotFoundError(
            f"{name} has to be fetched by hand: get it from {url}, and name the folder that holds {name} with `root` "
            "or the environment variable MAMBATS_DATA."
        )
    home = Path(chosen).expanduser()
    places = [home / folder / name for folder in ("", *BELOW)]
    places += [home] if home.name == name.rpartition("/")[2] else []
    if found := next((place for place in places if place.is_dir()), None):
        return found
    raise NotFoundError(
        f"{name} is not in {home} nor in its {' or '.join(BELOW)}. Get it from {url}, or name the folder that holds it "
        "with `root`."
    )


def verify(path: Path, record: SourceRecord) -> None:
    """Compare the plain content of a file with the published checksum.

    Raises:
        ChecksumError: If they differ.
    """
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except (OSError, EOFError) as error:
        raise ChecksumError(f"{record.name}: {path} cannot be read ({error}). Delete it and get it again.") from error
    if record.sha256 and digest.hexdigest() != record.sha256:
        raise ChecksumError(
            f"{record.name}: {path} has sha256 {digest.hexdigest()}, the published file {record.sha256}. "
            "The file is damaged or another version: delete it and get it again. To use your own file, read it "
            "with mambats.data.Table."
        )


def _below(root: Path, record: SourceRecord) -> Path | None:
    places = [root / folder / (record.file + end) for folder in ("", *BELOW) for end in ("", ".gz")]
    return next((place for place in places if place.is_file()), None)


def _downloaded(record: SourceRecord) -> Path:
    import platformdirs
    import pooch

    folder = Path(platformdirs.user_cache_dir("mambats")) / "datasets"
    target = folder / record.file
    if target.is_file():
        return target
    advice = (
        f"Download {record.url} elsewhere, put {record.file} into a folder, and name the folder with `root` or "
        "the environment variable MAMBATS_DATA."
    )
    try:
        if not record.member:
            known = record.sha256 or None
            return Path(pooch.retrieve(record.url, known, target.name, target.parent, progressbar=False))
        # The archive's own checksum is not published; the member's is verified by the caller.
        unpack = pooch.Unzip(members=[record.member], extract_dir=str(folder))
        return Path(pooch.retrieve(record.url, None, f"{record.file}.zip", folder, processor=unpack)[0])
    except ValueError as error:  # pooch's word for a wrong checksum
        raise ChecksumError(f"{record.name}: what {record.url} sent is not the published file ({error}).") from error
    except Exception as error:  # requests, urllib and zipfile each have errors of their own
        raise DownloadError(
            f"{record.name}: {record.file} is not on this machine and could not be downloaded "
            f"({type(error).__name__}). {advice}"
        ) from error
