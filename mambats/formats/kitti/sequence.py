"""One sequence of KITTI's tracking benchmark with all that is there of it, as a recording at 10 Hz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import CLASSES, FRAME, PERIOD, POINTRCNN, count_frames, merged, to_stream
from mambats.formats.kitti.calibration import Base, read_calibration
from mambats.formats.kitti.folder import PICTURES, number_files, read_pictures, read_sweeps
from mambats.formats.kitti.oxts import OXTS, oxts_streams
from mambats.formats.kitti.rows import Rows, read_rows
from mambats.formats.kitti.tracking import detection_rows, picture_rows, track_rows
from mambats.formats.repair import REFUSE, Policy
from mambats.series import ImageStream, RaggedStream, Recording, Stamps, Stream

_KINDS = {"labels": (CLASSES, FRAME), "detections": (POINTRCNN.classes, FRAME), "detections_2d": (CLASSES, "camera_2")}


def read_tracking(
    root: Path | str,
    sequence: str,
    *,
    base: Base = "lidar",
    frames: int | None = None,
    detections: tuple[str, str] = ("det3d_pointrcnn", "det2d_rrc"),
    lidar: bool = True,
    policy: Policy = REFUSE,
) -> Recording:
    """Read what there is of one sequence: calibration, labels, detections, oxts, LiDAR sweeps and pictures.

    Args:
        root: Folder with `calib/`, `label_02/`, `oxts/`, `velodyne/`, `image_02/`, `image_03/` and folders of
            detections that hold a folder a class; what is not there is left out, the calibration alone is needed.
        sequence: `0000` to `0020`.
        base: Root of the frame tree.
        frames: Number of frames, or None: what pictures, sweeps, oxts or `evaluate_tracking.seqmap*` say, else up to
            the last row.
        detections: Folders of detections in space and in the picture.
        lidar: Whether sweeps are read: 1.9 MB a frame in memory.
        policy: `clock='repair'` sorts rows out of order, `torn='repair'` leaves out what is cut off at a file's end.

    Returns:
        A recording at 10 Hz from 0 with the ragged streams `labels`, `detections`, `detections_2d` and `lidar`; `imu`,
        `gnss` and `velocity` with `pose` as truth where there is oxts; `camera_2` and `camera_3` where there are
        pictures.

    Raises:
        DataError: If a file cannot be used; names it, and the line.
    """
    root = Path(root)
    calibration = read_calibration(root / "calib" / f"{sequence}.txt")
    tables = _tables(root, sequence, detections, policy)
    oxts = read_rows(root / "oxts" / f"{sequence}.txt", OXTS, policy) if _has(root, "oxts", sequence) else None
    known = frames if frames is not None else _count(root, sequence, oxts)
    count = count_frames([rows for several in tables.values() for rows in several], known)
    stamps = np.arange(count, dtype=np.int64) * PERIOD
    repairs = [line for several in tables.values() for rows in several for line in rows.repairs]
    ragged = dict[str, RaggedStream]()
    for name, several in tables.items():
        classes, frame = _KINDS[name]
        ragged[name] = to_stream(*merged(several), count, frame, classes)
    if lidar:
        sweeps, lines = read_sweeps(root / "velodyne" / sequence, stamps, policy)
        repairs += lines
        ragged |= {"lidar": sweeps} if sweeps else {}
    images = dict[str, ImageStream]()
    for camera in calibration.projections:
        folder, frame = root / f"image_0{camera}" / sequence, f"camera_{camera}"
        pictures, lines = read_pictures(folder, stamps, frame, calibration.intrinsics(camera))
        repairs += lines
        images |= {frame: pictures} if pictures else {}
    streams, truth, facts = _inertial(oxts, stamps)
    name = f"kitti_tracking_{sequence}"
    return Recording(name, streams, facts, ragged, images, calibration.frames(base), truth, tuple(repairs))


def read_seqmap(path: Path | str) -> dict[str, int]:
    """Read the number of frames by sequence: lines `0001 empty 000000 000447`.

    Raises:
        DataError: If a line is another, or does not start at frame 0; names it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}).") from error
    counts = dict[str, int]()
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 4 or not (cells[2].isdigit() and cells[3].isdigit()) or int(cells[2]) != 0:
            raise DataError(f"{path}, line {number}: {line!r}, needed a sequence, a word, 000000 and the frame count.")
        counts[cells[0]] = int(cells[3])
    return counts


def _has(root: Path, folder: str, sequence: str) -> bool:
    return (root / folder / f"{sequence}.txt").is_file()


def _tables(root: Path, sequence: str, detections: tuple[str, str], policy: Policy) -> dict[str, Sequence[Rows]]:
    tables, name = dict[str, Sequence[Rows]](), f"{sequence}.txt"
    if _has(root, "label_02", sequence):
        tables["labels"] = [track_rows(root / "label_02" / name, policy)]
    if found := sorted((root / detections[0]).glob(f"*/{name}")):
        tables["detections"] = [detection_rows(path, policy) for path in found]
    if found := sorted((root / detections[1]).glob(f"*/{name}")):
        tables["detections_2d"] = [picture_rows(path, path.parent.name, policy) for path in found]
    return tables


def _count(root: Path, sequence: str, oxts: Rows | None) -> int | None:
    """Number of frames as the folder knows it, without any row of a table."""
    for path in sorted(root.glob("evaluate_tracking.seqmap*")):
        if sequence in (counts := read_seqmap(path)):
            return counts[sequence]
    if oxts is not None:
        return len(oxts.values)
    folders = [root / name / sequence for name in ("image_02", "image_03", "velodyne")]
    last = [numbers[-1] for folder in folders if (numbers := number_files(folder, (*PICTURES, ".bin"), None)[0]).size]
    return int(max(last)) + 1 if last else None


def _inertial(oxts: Rows | None, stamps: Stamps) -> tuple[dict[str, Stream], dict[str, Stream], dict[str, float]]:
    if oxts is None:
        return {}, {}, {}
    if len(oxts.values) != len(stamps):
        raise DataError(f"{oxts.path}: has {len(oxts.values)} rows, the sequence has {len(stamps)} frames: one each.")
    return oxts_streams(oxts, stamps)
