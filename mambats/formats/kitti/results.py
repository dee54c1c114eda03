"""KITTI's tracking labels and results, written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import CLASSES, PERIOD, SOLID, TRACKING
from mambats.results import write_whole
from mambats.series import RaggedStream

#: What the benchmark writes for what is not known.
UNKNOWN = {"truncated": -1, "occluded": -1, "alpha": -10, "left": -1, "top": -1, "right": -1, "bottom": -1}
WHOLE = ("frame", "track", "truncated", "occluded")


def write_tracks(path: Path | str, tracks: RaggedStream, *, period: int = PERIOD) -> Path:
    """Write tracks in the columns of labels, and of results where there is a `score`.

    Numbers are written with as many digits as give back the same float64.

    Args:
        path: Text file; an empty stream writes an empty file.
        tracks: Boxes as this package reads them, in `camera_rect`: `track`, `class` (with labels), h w l, x y z, yaw;
            truncated, occluded, alpha and pixels where they are known; score for results.
        period: Nanoseconds between frames: a stamp is its frame times this.

    Returns:
        The path.

    Raises:
        DataError: If a channel or a class is missing, a value is not finite, or a stamp is on no frame.
    """
    needed = ("track", "class", *SOLID)
    if missing := [name for name in needed if name not in tracks.channels]:
        raise DataError(
            f"{path}: tracks have no {', '.join(missing)}, their channels are {', '.join(tracks.channels)}."
        )
    if not np.isfinite(tracks.values).all():
        row = int(np.flatnonzero(~np.isfinite(tracks.values).all(axis=1))[0])
        raise DataError(f"{path}: row {row} of the tracks is not finite: {tracks.values[row].tolist()}. Remove it.")
    off = np.flatnonzero((tracks.stamps % period != 0) | (tracks.stamps < 0))
    if off.size:
        raise DataError(
            f"{path}: stamp {off[0]}, {tracks.stamps[off[0]]} ns, is on no frame of {period} ns. Give the period."
        )
    frames = np.repeat(tracks.stamps // period, np.diff(tracks.splits))
    columns = TRACKING.columns if "score" in tracks.channels else TRACKING.columns[:-1]
    table = pl.DataFrame([_column(tracks, name, frames) for name in columns])
    return write_whole(path, table.write_csv(include_header=False, separator=" ").encode())


def _column(tracks: RaggedStream, name: str, frames: np.ndarray) -> pl.Series:
    if name == "frame":
        return pl.Series(name, frames)
    if name not in tracks.channels:
        return pl.Series(name, np.full(len(frames), UNKNOWN[name]))
    values = tracks.values[:, tracks.channels.index(name)]
    if name == "class":
        return pl.Series(name, _words(tracks, values))
    whole = name in WHOLE and bool((values == np.rint(values)).all())
    return pl.Series(name, values.astype(np.int64 if whole else np.float64))


def _words(tracks: RaggedStream, codes: np.ndarray) -> list[str]:
    words = tracks.labels.get("class", ())
    if not words:
        raise DataError(f"tracks have no labels for the channel class: give words, of {', '.join(CLASSES)}.")
    bad = np.flatnonzero((codes != np.rint(codes)) | (codes < 0) | (codes >= len(words)))
    if bad.size:
        raise DataError(f"row {bad[0]} of the tracks has class {codes[bad[0]]:g}, labels are 0 to {len(words) - 1}.")
    return [words[int(code)] for code in codes]
