"""Folders of numbered files: LiDAR sweeps (`000000.bin`) and pictures (`000000.png`) on the clock of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.points import Points, read_points
from mambats.formats.repair import REFUSE, Place, Policy, settle_clock
from mambats.series import ImageStream, RaggedStream, Stamps

PICTURES = (".png", ".jpg")


def read_sweeps(
    folder: Path, stamps: Stamps, policy: Policy = REFUSE, channels: tuple[str, ...] = ("x", "y", "z", "intensity")
) -> tuple[RaggedStream | None, tuple[str, ...]]:
    """Read all sweeps of a folder into one stream, in memory; a frame without a file has no stamp.

    Args:
        folder: Holds `000000.bin` and so on; the number is the row of `stamps`.
        stamps: Times of all frames in int64 nanoseconds, shape (T,).
        policy: As for `read_points`; `clock='repair'` drops sweeps whose stamps do not rise.
        channels: Names of the numbers of a point.

    Returns:
        The stream in frame `lidar` (metres; intensity as the sensor gives it), None where there is no file, and the
        lines to report.

    Raises:
        DataError: If a file cannot be used; names it.
    """
    stamps, paths, repairs = _on_clock(folder, (".bin",), stamps, policy)
    if not paths:
        return None, ()
    tables = list[Points]()
    for path in paths:
        points, lines = read_points(path, channels, policy)
        tables.append(points)
        repairs += lines
    splits = np.concatenate(([0], np.cumsum([len(points) for points in tables]))).astype(np.int64)
    units = tuple("m" if name in "xyz" else "" for name in channels)
    values = tables[0] if len(tables) == 1 else np.concatenate(tables)
    return RaggedStream(stamps, splits, values, channels, units, "lidar"), tuple(repairs)


def read_pictures(
    folder: Path,
    stamps: Stamps,
    frame: str,
    intrinsics: npt.NDArray[np.float64] | None,
    policy: Policy = REFUSE,
) -> tuple[ImageStream | None, tuple[str, ...]]:
    """Name all pictures of a folder on one clock; none is decoded.

    Args:
        folder: Holds `000000.png` (or .jpg) and so on; the number is the row of `stamps`.
        stamps: Times of all frames in int64 nanoseconds, shape (T,).
        frame: Optical frame id.
        intrinsics: Pinhole matrix in pixels, shape (3, 3), or None.
        policy: `clock='repair'` drops pictures whose stamps do not rise.

    Returns:
        The stream, None where there is no file, and the lines to report.

    Raises:
        DataError: If a file has a number beyond the stamps, or stamps do not rise.
    """
    stamps, paths, repairs = _on_clock(folder, PICTURES, stamps, policy)
    return (ImageStream(stamps, paths, frame, intrinsics) if paths else None), tuple(repairs)


def number_files(
    folder: Path, endings: Sequence[str], count: int | None
) -> tuple[npt.NDArray[np.int64], list[Path], list[str]]:
    """Find the files that are named by a number, in its order, and report frames that have none.

    Args:
        folder: Where they lie; may be missing.
        endings: Of the files wanted.
        count: Number of frames, or None where it is not known.

    Returns:
        Numbers (n,), files, and the line to report.

    Raises:
        DataError: If two files have one number, or one has a number beyond the frames.
    """
    found = [path for path in folder.iterdir() if path.suffix in endings] if folder.is_dir() else []
    paths = sorted((path for path in found if path.stem.isdigit()), key=lambda path: (int(path.stem), path.name))
    numbers = np.array([int(path.stem) for path in paths], dtype=np.int64)
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if twice.size:
        raise DataError(f"{paths[twice[0] + 1]}: has the number of {paths[twice[0]].name}: keep one.")
    if count is not None and numbers.size and numbers[-1] >= count:
        raise DataError(f"{paths[-1]}: is frame {numbers[-1]}, there are {count} frames. Do the files belong together?")
    missing = np.setdiff1d(np.arange(count or 0), numbers) if paths else numbers[:0]
    line = f"{folder}: {missing.size} of {count} frames have no file, left out, the first is frame"
    return numbers, paths, [f"{line} {missing[0]}"] if missing.size else []


def _on_clock(
    folder: Path, endings: Sequence[str], stamps: Stamps, policy: Policy
) -> tuple[Stamps, list[Path], list[str]]:
    numbers, paths, repairs = number_files(folder, endings, len(stamps))
    settled = settle_clock(stamps[numbers], Place(str(folder), numbers, "frame"), policy)
    return stamps[numbers][settled.rows], [paths[row] for row in settled.rows], [*repairs, *settled.repairs]
