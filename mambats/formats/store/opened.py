"""Open a saved recording without copying it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.store.arrow import forget, map_columns
from mambats.formats.store.pictures import Pictures
from mambats.formats.store.saved import FORMAT, KIND, META
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid, Stream

#: Files up to this size are compared with their sha256 whenever they are opened: 64 MiB take about 0.1 s.
SMALL = 64 << 20

Facts = dict[str, Any]


def open_recording(folder: Path | str, *, verify: bool | None = None) -> Recording:
    """Open a recording that `save_recording` wrote, as memory maps: nothing but the clocks is read.

    Values, clocks, flags and covariances are views of the files; pictures are read when one is asked for.

    Args:
        folder: Where it lies.
        verify: Compare every file with its sha256 (reads all of it once), or none. None compares files up to 64 MiB.
            Format version, the presence and the size of every file are always checked.

    Raises:
        DataError: If there is no recording, it is of another format version, or a file is missing, cut off or changed.
    """
    place = Path(folder)
    meta = _read_meta(place)
    try:
        for file, facts in meta["files"].items():
            _check_file(_inside(place, file), facts, verify)
        edges = tuple(
            Rigid(e["parent"], e["child"], tuple(e["translation"]), tuple(e["quaternion"])) for e in meta["frames"]
        )
        return Recording(
            name=meta["name"],
            streams={name: _stream(place, facts) for name, facts in meta["streams"].items()},
            static=meta["static"],
            ragged={name: _ragged(place, facts) for name, facts in meta["ragged"].items()},
            images={name: _images(place, facts) for name, facts in meta["images"].items()},
            frames=FrameTree(edges),
            truth={name: _stream(place, facts) for name, facts in meta["truth"].items()},
            repairs=tuple(meta["repairs"]),
        )
    except DataError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OSError) as error:
        raise DataError(
            f"{place / META}: is not what save_recording writes ({type(error).__name__}: {error}). Save it again."
        ) from error


def _read_meta(place: Path) -> Facts:
    if not (place / META).is_file():
        raise DataError(
            f"{place}: there is no saved recording here (no {META}, which is written last). Give its folder; "
            "if saving was interrupted, save again."
        )
    try:
        meta = json.loads((place / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{place / META}: cannot be read ({error}). Save the recording again.") from error
    if not isinstance(meta, dict) or meta.get("kind") != KIND:
        raise DataError(f"{place / META}: is not of a mambats recording. Give a folder that save_recording wrote.")
    if meta.get("format") != FORMAT:
        raise DataError(f"{place}: format {meta.get('format')}, this version reads {FORMAT}. Save the recording again.")
    return meta


def _inside(place: Path, file: str) -> Path:
    """Refuse names that lead out of the folder: a recording may come from anyone."""
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise DataError(f"{place / META}: names {file!r}, which is not in the folder. Do not trust this recording.")
    return place / file


def _check_file(path: Path, facts: Facts, verify: bool | None) -> None:
    if not path.is_file():
        raise DataError(f"{path}: is missing, {META} names it. Save the recording again.")
    size = path.stat().st_size
    if size != facts["bytes"]:
        raise DataError(f"{path}: has {size} bytes, {facts['bytes']} were written. Save the recording again.")
    if verify is False or (verify is None and size > SMALL):
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != facts["sha256"]:
        raise DataError(
            f"{path}: is not the file that was written: sha256 {found[:12]}..., {META} says "
            f"{facts['sha256'][:12]}.... Save the recording again."
        )


def _stream(place: Path, facts: Facts) -> Stream:
    columns = _table(place, facts["table"])
    observed, covariance = columns.get("observed"), columns.get("covariance")
    width = len(facts["channels"])
    if facts["covariance"] is not None:
        covariance = np.array(facts["covariance"], np.float64).reshape(width, width)
    flags = None if observed is None else observed.view(np.bool_)
    made = Stream(
        columns["stamp"],
        columns["values"],
        tuple(facts["channels"]),
        flags,
        unit=_unit(facts),
        frame=facts["frame"],
        covariance=covariance,
    )
    # The clock was checked, which read it: 288 MB in 10 h at 1 kHz that need not stay.
    forget(made.stamps)
    return made


def _ragged(place: Path, facts: Facts) -> RaggedStream:
    index, values = _table(place, facts["index"]), _table(place, facts["table"])["values"]
    labels = {name: tuple(words) for name, words in facts["labels"].items()}
    names = tuple(facts["channels"])
    return RaggedStream(index["stamp"], _splits(index["end"]), values, names, _unit(facts), facts["frame"], labels)


def _images(place: Path, facts: Facts) -> ImageStream:
    index = _table(place, facts["index"])
    file = _inside(place, facts["file"])
    data = np.memmap(file, np.uint8, mode="r") if file.stat().st_size else np.empty(0, np.uint8)
    matrix = None if facts["intrinsics"] is None else np.array(facts["intrinsics"], np.float64)
    pictures = Pictures(data, _splits(index["end"]))
    return ImageStream(index["stamp"], pictures, facts["frame"], matrix, tuple(facts["distortion"]))


def _table(place: Path, facts: Facts) -> dict[str, npt.NDArray[Any]]:
    shapes = {name: (str(dtype), tuple(shape)) for name, (dtype, shape) in facts["columns"].items()}
    filled = {name: shape for name, shape in shapes.items() if int(np.prod(shape[1]))}
    found = map_columns(_inside(place, facts["file"]), filled) if filled else {}
    return {name: found[name] if name in found else np.empty(shape, dtype) for name, (dtype, shape) in shapes.items()}


def _splits(ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), ends))


def _unit(facts: Facts) -> str | tuple[str, ...]:
    return facts["unit"] if isinstance(facts["unit"], str) else tuple(facts["unit"])
