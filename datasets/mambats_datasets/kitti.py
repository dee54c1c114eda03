"""KITTI: a car with LiDAR, cameras and an inertial unit in Karlsruhe; tracking, object, odometry and raw.

The files are CC BY-NC-SA 3.0 and behind a login: they are read where a user has them, never fetched and never shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mambats.formats.error import DataError
from mambats.formats.kitti import read_object, read_poses, read_raw, read_tracking
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate_folder, verify

SITE = "https://www.cvlibs.net/datasets/kitti"
_GITHUB = "https://github.com"
_AB3DMOT = f"{_GITHUB}/xinshuoweng/AB3DMOT/blob/61f3bd72574093e367916c757b4747ca445f978c"
_FRAME = f"{_GITHUB}/kuixu/kitti_object_vis/blob/12ce0a2348f6e1405c502bf32e51d76d3a970396/data/object/training"
_POSES = f"{_GITHUB}/Huangying-Zhan/kitti-odom-eval/blob/4b850b0815dcd28edef893ca3422125b04a02397/dataset/kitti_odom"


def _record(file: str, url: str, sha256: str, size: int, units: str) -> SourceRecord:
    return SourceRecord(
        name="KITTI (files of mirrors)",
        file=file,
        url=url,
        sha256=sha256,
        bytes=size,
        licence="CC BY-NC-SA 3.0",
        citation="Geiger et al., Vision meets robotics: the KITTI dataset, IJRR 2013",
        units=units,
    )


_BOXES = "pixels; m and rad in the rectified camera 0; frames at 10 Hz"
#: Files whose content is known; of the others KITTI publishes no checksum.
RECORDS = {
    record.file: record
    for record in (
        _record(
            "kitti_tracking/label_02/0000.txt",
            f"{_AB3DMOT}/scripts/KITTI/label/0000.txt",
            "97f772a27181dfc7ef51b3e64b86bd42e682753b6855fdc58d259ecbed501fd4",
            154_115,
            _BOXES,
        ),
        _record(
            "kitti_tracking/calib/0000.txt",
            f"{_AB3DMOT}/data/KITTI/mini/training/calib/0000.txt",
            "ad84e49dae5ca1dc5db06adeadce6e02664db7dbcdfda6f508b7ca10eea136cc",
            1_626,
            "px, m",
        ),
        _record(
            "kitti_tracking/det3d_pointrcnn/Car/0000.txt",
            f"{_AB3DMOT}/data/KITTI/detection/pointrcnn_Car_val/0000.txt",
            "d33a9637c3565664b3d59e219d7601ac6cab8d09bf1e5749cd2be017262a7302",
            113_742,
            f"{_BOXES}; score a logit",
        ),
        _record(
            "kitti_frame/velodyne/000001.bin",
            f"{_FRAME}/velodyne/000001.bin",
            "59a02fdaaab3b7e903713cb618e8f53efcaf71c144436ddfcdf4f28bdbd73d20",
            1_924_288,
            "m in the LiDAR; reflectance 0 to 1",
        ),
        _record(
            "kitti_frame/calib/000001.txt",
            f"{_FRAME}/calib/000001.txt",
            "5813c05a89e33e67244891c62e153e0a572692d42365b8665e38cc242c7d4918",
            1_613,
            "px, m",
        ),
        _record(
            "kitti_odometry/gt_poses/07.txt",
            f"{_POSES}/gt_poses/07.txt",
            "7eb020916003a09a6b9c2744748eaadef54b96f6df22ee703a05a1d19bfe913a",
            176_684,
            "m in the first left camera",
        ),
        _record(
            "kitti_odometry/gt_poses/10.txt",
            f"{_POSES}/gt_poses/10.txt",
            "b29cfbc423220a7bc163ef53d0e0a362f8206f006eb2db690d8b48795327380e",
            194_102,
            "m in the first left camera",
        ),
    )
}


class KittiTracking:
    """Drives of 8 to 106 s with labelled objects: boxes at 10 Hz as truth, detections as what a tracker sees.

    Args:
        root: Folder that holds the folder below, or None for MAMBATS_DATA.
        sequences: `0000` to `0020`, or None for all that have a calibration.
        folder: With `calib/`, `label_02/`, `oxts/`, `velodyne/`, `image_02/`, `det3d_pointrcnn/`, `det2d_rrc/`, of
            which the calibration alone must be there.
        lidar: Whether sweeps are read: 1.9 MB a frame in memory.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "kitti_tracking"

    def __init__(
        self,
        root: str | None = None,
        sequences: Sequence[str] | None = None,
        folder: str = "kitti_tracking",
        lidar: bool = True,
        faults: Choice = "refuse",
    ) -> None:
        self.root = root
        self.sequences = sequences
        self.folder = folder
        self.lidar = lidar
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a sequence: see `mambats.formats.kitti.read_tracking`."""
        home = _home(self.folder, f"{SITE}/eval_tracking.php", self.root)
        found = _names(home / "calib", self.sequences)
        return [read_tracking(home, name, lidar=self.lidar, policy=self.policy) for name in found]


class KittiObject:
    """Single frames: a LiDAR sweep, pictures and labelled boxes.

    Args:
        root: Folder that holds the folder below, or None for MAMBATS_DATA.
        frames: `000000` and so on, or None for all that have a calibration.
        folder: With `calib/`, `velodyne/`, `image_2/`, `label_2/`: `training` of the download.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "kitti_object"

    def __init__(
        self,
        root: str | None = None,
        frames: Sequence[str] | None = None,
        folder: str = "kitti_frame",
        faults: Choice = "refuse",
    ) -> None:
        self.root = root
        self.frames = frames
        self.folder = folder
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a frame: see `mambats.formats.kitti.read_object`."""
        home = _home(self.folder, f"{SITE}/eval_object.php", self.root)
        return [read_object(home, name, policy=self.policy) for name in _names(home / "calib", self.frames)]


class KittiOdometry:
    """True poses of the left camera over drives of up to 5 km, at 10 Hz.

    Args:
        root: Folder that holds the folder below, or None for MAMBATS_DATA.
        sequences: `00` to `10`, or None for all that have poses.
        folder: With `poses/` (or `gt_poses/`), and `sequences/<sequence>/` for times and calibration where they are.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "kitti_odometry"

    def __init__(
        self,
        root: str | None = None,
        sequences: Sequence[str] | None = None,
        folder: str = "kitti_odometry",
        faults: Choice = "refuse",
    ) -> None:
        self.root = root
        self.sequences = sequences
        self.folder = folder
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a sequence with the truth `pose`."""
        home = _home(self.folder, f"{SITE}/eval_odometry.php", self.root)
        poses = next((place for name in ("poses", "gt_poses") if (place := home / name).is_dir()), home)
        return [self._one(poses / f"{name}.txt", home / "sequences" / name) for name in _names(poses, self.sequences)]

    def _one(self, poses: Path, beside: Path) -> Recording:
        times, rig = beside / "times.txt", beside / "calib.txt"
        recording = read_poses(
            poses,
            times if times.is_file() else None,
            calibration=rig if rig.is_file() else None,
            policy=self.policy,
        )
        return replace(recording, name=f"kitti_odometry_{recording.name}", streams={}, truth=recording.streams)


class KittiRaw:
    """Whole drives: inertial unit, LiDAR and cameras, each on its own clock.

    Args:
        root: Folder that holds the folder below, or None for MAMBATS_DATA.
        drives: `2011_09_26/2011_09_26_drive_0001_sync` and so on, or None for all that are there.
        folder: With a folder a day, which holds three calib_*.txt and the drives.
        lidar: Whether sweeps are read: 1.9 MB a frame in memory.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "kitti_raw"

    def __init__(
        self,
        root: str | None = None,
        drives: Sequence[str] | None = None,
        folder: str = "kitti_raw",
        lidar: bool = True,
        faults: Choice = "refuse",
    ) -> None:
        self.root = root
        self.drives = drives
        self.folder = folder
        self.lidar = lidar
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a drive: see `mambats.formats.kitti.read_raw`."""
        home = _home(self.folder, f"{SITE}/raw_data.php", self.root)
        found = [home / name for name in self.drives] if self.drives is not None else sorted(home.glob("*/*_sync"))
        if not found:
            raise DataError(f"{home}: holds no drive <day>/<drive>_sync. Get one from {SITE}/raw_data.php.")
        return [read_raw(drive, lidar=self.lidar, policy=self.policy) for drive in found]


def _home(folder: str, url: str, root: str | None) -> Path:
    """Find the folder and verify those of its files that are known."""
    home = locate_folder(folder, f"{url} (free after login, CC BY-NC-SA 3.0)", root)
    for file, record in RECORDS.items():
        path = home / file.partition("/")[2]
        if file.startswith(f"{folder}/") and path.is_file():
            verify(path, record)
    return home


def _names(folder: Path, wanted: Sequence[str] | None) -> list[str]:
    found = list(wanted) if wanted is not None else sorted(path.stem for path in folder.glob("*.txt"))
    if not found:
        raise DataError(f"{folder}: holds no .txt file, so there is nothing to read. Is the folder whole?")
    return found
