"""Write a recording to a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.store.arrow import write_columns
from mambats.formats.store.pictures import write_pictures
from mambats.formats.store.stage import staged
from mambats.series import ImageStream, RaggedStream, Recording, Stream

FORMAT = 1
META = "recording.json"
KIND = "mambats recording"

Facts = dict[str, Any]
Arrays = Mapping[str, npt.NDArray[Any]]


def save_recording(recording: Recording, folder: Path | str, *, overwrite: bool = False) -> Path:
    """Save a recording, whole or not at all: Arrow IPC files and `recording.json`, which is written last.

    folder/
    recording.json          names, units, frames, covariances, facts, repairs, shapes, sha256 of every file
    streams/0_imu.arrow     stamp int64 ns, values list<C>, observed where something is missing
    ragged/0_lidar.arrow    values list<C> of all tables; 0_lidar.index.arrow: stamp, and where each table ends
    images/0_camera.bin     encoded pictures behind one another; 0_camera.index.arrow likewise
    truth/0_pose.arrow      as streams

    Any Arrow library reads the `.arrow` files (`polars.scan_ipc`). Pictures given as paths are copied in.

    Args:
        recording: What to save.
        folder: New folder.
        overwrite: Replace a recording that is there. Anything else that is there is never replaced.

    Returns:
        The folder.

    Raises:
        DataError: If something is there, the disk is full, or a picture cannot be read.
        ModuleNotFoundError: If polars, which writes Arrow, is not installed (`pip install 'mambats[train]'`).
    """
    place = Path(folder)
    _check_place(place, overwrite)
    with staged(place) as stage:
        meta: Facts = {
            "kind": KIND,
            "format": FORMAT,
            "name": recording.name,
            "static": {name: float(value) for name, value in recording.static.items()},
            "repairs": list(recording.repairs),
            "frames": [asdict(edge) for edge in recording.frames.edges],
            "streams": _each(stage, "streams", recording.streams, _save_stream),
            "ragged": _each(stage, "ragged", recording.ragged, _save_ragged),
            "images": _each(stage, "images", recording.images, _save_images),
            "truth": _each(stage, "truth", recording.truth, _save_stream),
        }
        meta["files"] = {path.relative_to(stage).as_posix(): _facts(path) for path in sorted(stage.rglob("*.*"))}
        (stage / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
    return place


def _check_place(place: Path, overwrite: bool) -> None:
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not (place / META).is_file():
        raise DataError(f"{place}: is there and is no saved recording, so it is not replaced. Name a new folder.")
    if not overwrite:
        raise DataError(f"{place}: a recording is there already. Name a new folder, or say `overwrite=True`.")


def _each(stage: Path, part: str, streams: Mapping[str, Any], save: Any) -> dict[str, Facts]:
    if streams:
        (stage / part).mkdir()
    return {
        name: save(stage, f"{part}/{number}_{re.sub(r'[^A-Za-z0-9-]+', '_', name)[:60]}", stream)
        for number, (name, stream) in enumerate(streams.items())
    }


def _save_stream(stage: Path, file: str, stream: Stream) -> Facts:
    columns: dict[str, npt.NDArray[Any]] = {"stamp": stream.stamps, "values": stream.values}
    if stream.observed is not None:
        # Arrow packs truth values into bits, which no numpy view can show: one byte each.
        columns["observed"] = stream.observed.astype(np.uint8)
    constant = None
    if stream.covariance is not None and stream.covariance.ndim == 3:
        columns["covariance"] = stream.covariance
    elif stream.covariance is not None:
        constant = stream.covariance.tolist()
    return {**_describe(stream), "covariance": constant, "table": _save(stage, f"{file}.arrow", columns)}


def _save_ragged(stage: Path, file: str, stream: RaggedStream) -> Facts:
    index = {"stamp": stream.stamps, "end": stream.splits[1:]}
    return {
        **_describe(stream),
        "labels": {name: list(words) for name, words in stream.labels.items()},
        "index": _save(stage, f"{file}.index.arrow", index),
        "table": _save(stage, f"{file}.arrow", {"values": stream.values}),
    }


def _save_images(stage: Path, file: str, stream: ImageStream) -> Facts:
    try:
        ends = write_pictures(stage / f"{file}.bin", stream)
    except ValueError as error:
        raise DataError(str(error)) from error
    return {
        "frame": stream.frame,
        "intrinsics": None if stream.intrinsics is None else stream.intrinsics.tolist(),
        "distortion": list(stream.distortion),
        "index": _save(stage, f"{file}.index.arrow", {"stamp": stream.stamps, "end": ends}),
        "file": f"{file}.bin",
    }


def _describe(stream: Stream | RaggedStream) -> Facts:
    unit = stream.unit if isinstance(stream.unit, str) else list(stream.unit)
    return {"channels": list(stream.channels), "unit": unit, "frame": stream.frame}


def _save(stage: Path, file: str, columns: Arrays) -> Facts:
    """Write a table; columns without any cell are only described."""
    native = {name: column.astype(column.dtype.newbyteorder("="), copy=False) for name, column in columns.items()}
    filled = {name: column for name, column in native.items() if column.size}
    if filled:
        write_columns(stage / file, filled)
    shapes = {name: [column.dtype.str, list(column.shape)] for name, column in native.items()}
    return {"file": file if filled else None, "columns": shapes}


def _facts(path: Path) -> Facts:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
