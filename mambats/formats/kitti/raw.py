"""A drive of KITTI's raw recordings (synced and rectified): oxts, LiDAR and pictures, each on its own clock."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.kitti.calibration import Base, read_raw_calibration
from mambats.formats.kitti.folder import number_files, read_pictures, read_sweeps
from mambats.formats.kitti.oxts import COLUMNS, OXTS, oxts_streams
from mambats.formats.kitti.rows import Rows, parse_rows, read_rows
from mambats.formats.repair import REFUSE, Place, Policy, settle_clock
from mambats.series import ImageStream, RaggedStream, Recording, Stamps, Stream

# numpy reads half a line too (`2011-09-26 13`), so the whole is asked for.
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}", re.ASCII)


def read_raw(
    drive: Path | str,
    calibration: Path | str | None = None,
    *,
    base: Base = "lidar",
    lidar: bool = True,
    policy: Policy = REFUSE,
) -> Recording:
    """Read one drive.

    Args:
        drive: Folder `2011_09_26_drive_0001_sync` with `oxts/`, `velodyne_points/` and `image_00/` to `image_03/`, each
            with `data/` and `timestamps.txt`; what is not there is left out.
        calibration: Folder with the three calib_*.txt; None for the folder that holds the drive.
        base: Root of the frame tree.
        lidar: Whether sweeps are read: 1.9 MB a frame in memory.
        policy: `clock='repair'` drops rows whose stamps do not rise, `torn='repair'` what is cut off at a file's end.

    Returns:
        A recording with `imu`, `gnss` and `velocity` and the truth `pose` (see `oxts_streams`), `lidar`, and pictures
        `camera_0` to `camera_3`. Stamps are nanoseconds since 1970, in the recording computer's time.

    Raises:
        DataError: If a file cannot be used or there is nothing to read; names it, and the line or byte.
    """
    drive = Path(drive)
    rig = read_raw_calibration(drive.parent if calibration is None else calibration)
    streams, truth, facts, repairs = _inertial(drive / "oxts", policy)
    ragged, images = dict[str, RaggedStream](), dict[str, ImageStream]()
    sweeps = drive / "velodyne_points"
    if lidar and (sweeps / "data").is_dir():
        stream, lines = read_sweeps(sweeps / "data", read_clock(sweeps / "timestamps.txt"), policy)
        ragged |= {"lidar": stream} if stream else {}
        repairs += lines
    for camera in rig.projections:
        folder, name = drive / f"image_0{camera}", f"camera_{camera}"
        if (folder / "data").is_dir():
            stamps = read_clock(folder / "timestamps.txt")
            pictures, lines = read_pictures(folder / "data", stamps, name, rig.intrinsics(camera), policy)
            images |= {name: pictures} if pictures else {}
            repairs += lines
    if not streams and not ragged and not images:
        raise DataError(f"{drive}: has neither oxts/data nor velodyne_points/data nor image_0*/data. Is it a drive?")
    return Recording(drive.name, streams, facts, ragged, images, rig.frames(base), truth, tuple(repairs))


def read_clock(path: Path | str) -> Stamps:
    """Read timestamps.txt, one `2011-09-26 13:02:25.964389445` a line, to int64 nanoseconds, shape (T,).

    Raises:
        DataError: If a line is no time; names it. Whether times rise is for the caller to check.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}). A folder of data needs its timestamps.") from error
    for number, line in enumerate(lines, 1):
        if not _TIME.fullmatch(line.strip()):
            raise DataError(f"{path}, line {number}: {line!r} is no time like 2011-09-26 13:02:25.964389445.")
    try:
        return np.array([line.strip() for line in lines], dtype="datetime64[ns]").astype(np.int64)
    except ValueError as error:
        raise DataError(f"{path}: {error}. Needed times like 2011-09-26 13:02:25.964389445.") from error


def _inertial(folder: Path, policy: Policy) -> tuple[dict[str, Stream], dict[str, Stream], dict[str, float], list[str]]:
    """Read oxts: one file a row, which polars reads as one table."""
    if not (folder / "data").is_dir():
        return {}, {}, {}, []
    stamps = read_clock(folder / "timestamps.txt")
    numbers, paths, repairs = number_files(folder / "data", (".txt",), len(stamps))
    rows = _join(folder / "data", paths, numbers)
    settled = settle_clock(stamps[numbers], Place(str(folder / "timestamps.txt"), numbers + 1, "line"), policy)
    streams, truth, facts = oxts_streams(rows.take(settled.rows), stamps[numbers][settled.rows])
    return streams, truth, facts, [*repairs, *settled.repairs]


def _join(folder: Path, paths: list[Path], numbers: npt.NDArray[np.int64]) -> Rows:
    content = [path.read_bytes().strip() for path in paths]
    single = all(text and b"\n" not in text for text in content)
    try:
        rows = parse_rows(b"\n".join(content) + b"\n", folder, OXTS) if single else None
    except DataError:
        rows = None
    if rows is None:
        for path in paths:  # finds the file that is wrong and names it
            if (count := len(read_rows(path, OXTS).values)) != 1:
                raise DataError(f"{path}: has {count} rows, needed 1: {' '.join(COLUMNS)}.")
        raise DataError(f"{folder}: holds no rows. Is it the folder oxts/data of a drive?")
    return replace(rows, lines=numbers, word="frame")
