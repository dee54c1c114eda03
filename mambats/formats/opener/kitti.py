"""KITTI's layouts."""

from __future__ import annotations

from pathlib import Path

from mambats.formats.opener.look import Format, Look
from mambats.formats.repair import Policy
from mambats.series import Recording


def _raw(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_raw

    return [read_raw(path, policy=policy)]


def _is_raw(look: Look) -> bool:
    return any(look.has(f"{part}/timestamps.txt") for part in ("oxts", "velodyne_points", "image_00", "image_02"))


def _tracking(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_tracking

    found = [file.stem for file in sorted((path / "calib").glob("*.txt"))]
    return [read_tracking(path, sequence, policy=policy) for sequence in found]


def _is_tracking(look: Look) -> bool:
    return look.has("calib/*.txt") and any(look.has(part) for part in ("label_02", "oxts", "image_02", "det3d_*"))


def _object(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_object

    found = [file.stem for file in sorted((path / "calib").glob("*.txt"))]
    return [read_object(path, frame, policy=policy) for frame in found]


def _is_object(look: Look) -> bool:
    return look.has("calib/*.txt") and any(look.has(part) for part in ("label_2", "image_2", "velodyne"))


def _labels(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_tracks

    return [Recording(path.stem, {}, ragged={"labels": read_tracks(path, policy=policy)})]


def _is_labels(look: Look) -> bool:
    cells = look.cells()
    return len(cells) in (17, 18) and _whole(cells[0]) and _whole(cells[1]) and cells[2].isalpha()


def _detections(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_detections

    return [Recording(path.stem, {}, ragged={"detections": read_detections(path, policy=policy)})]


def _is_detections(look: Look) -> bool:
    cells = look.cells()
    return look.numbers() == 15 and "," in look.lines[0] and _whole(cells[0]) and cells[1] in ("1", "2", "3")


def _flat(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_detections_2d

    # The class stands in the folder's name alone (det2d_rrc/Car/0000.txt).
    found = read_detections_2d({path.parent.name: path}, policy=policy)
    return [Recording(path.stem, {}, ragged={"detections_2d": found})]


def _is_flat(look: Look) -> bool:
    from mambats.formats.kitti import CLASSES

    cells = look.cells()
    return look.numbers() == 6 and "," in look.lines[0] and _whole(cells[0]) and look.path.parent.name in CLASSES


def _poses(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_poses

    return [read_poses(path, policy=policy)]


def _odometry(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.kitti import read_poses

    made = list[Recording]()
    for file in sorted((path / "poses").glob("*.txt")):
        times, rig = (path / "sequences" / file.stem / name for name in ("times.txt", "calib.txt"))
        held = times if times.is_file() else None
        made.append(read_poses(file, held, calibration=rig if rig.is_file() else None, policy=policy))
    return made


def _whole(cell: str) -> bool:
    return cell.lstrip("-").isdigit()


FORMATS = (
    Format("kitti_raw", "a KITTI raw drive: oxts/, velodyne_points/ or image_00/ with timestamps.txt", _is_raw, _raw),
    Format(
        "kitti_tracking",
        "KITTI tracking: calib/*.txt beside label_02/, oxts/, image_02/ or det3d_*/",
        _is_tracking,
        _tracking,
    ),
    Format("kitti_object", "KITTI object: calib/*.txt beside label_2/, image_2/ or velodyne/", _is_object, _object),
    Format(
        "kitti_odometry",
        "KITTI odometry: poses/*.txt beside sequences/",
        lambda look: look.has("poses/*.txt", "sequences"),
        _odometry,
    ),
    Format("kitti_labels", "KITTI tracking labels: frame, track, a class, and 14 or 15 numbers", _is_labels, _labels),
    Format("kitti_detections", "KITTI detections in space: 15 numbers with commas", _is_detections, _detections),
    Format(
        "kitti_detections_2d",
        "KITTI detections in the picture: 6 numbers with commas, in a folder named after a class",
        _is_flat,
        _flat,
    ),
    Format("kitti_poses", "KITTI odometry: 12 numbers a line", lambda look: look.numbers() == 12, _poses),
)
