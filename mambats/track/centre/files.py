"""Sweeps and pictures in KITTI's tracking layout as detections: what `mambats track --sweeps` follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mambats.checkpoint import load_task
from mambats.formats.error import DataError
from mambats.formats.kitti import read_calibration
from mambats.formats.kitti.boxes import PERIOD
from mambats.formats.kitti.calibration import Calibration
from mambats.formats.points import read_points
from mambats.series import ImageStream, RaggedStream, Recording
from mambats.track.centre.drive import scored_objects
from mambats.track.centre.model import CentreDetector, Found
from mambats.track.centre.reading import SweepReading
from mambats.track.centre.recorded import RecordedSweeps
from mambats.track.centre.recorded_picture import RecordedPicture
from mambats.track.centre.sweeps import SweepTable
from mambats.track.centre.told import ToldNoise
from mambats.track.detector import turns
from mambats.track.ego_path import estimate_path
from mambats.track.heading import wrapped
from mambats.track.job import Sources
from mambats.track.kitti_pose import read_planar_poses
from mambats.track.objects import Objects
from mambats.track.recipe import Recipe

POINT = ("x", "y", "z", "intensity")
PICTURES = (".png", ".jpg")
# x right, y down, z forward of the rectified camera to x forward, y left, z up of boxes.
_AXES = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)


def read_detector(checkpoint: Path) -> CentreDetector:
    """Read the detector of a checkpoint of `DetectTask`.

    Raises:
        CheckpointError: If the file is missing, damaged or of another program.
        DataError: If it holds another model.
    """
    task = load_task(checkpoint)
    model = getattr(task, "model", None)
    if not isinstance(model, CentreDetector):
        raise DataError(f"{checkpoint}: holds a {type(task).__name__}, no detector: give one of a DetectTask.")
    return model.eval()


@dataclass(frozen=True)
class SweepSources(Sources):
    """Folders `NNNN/000000.bin`, one a sequence, and what finds bodies in them; `detections` is their folder.

    Args:
        model: The detector.
        reading: How it reads sweeps.
        images: Folder of `NNNN/000000.png`; None: none are read.
        estimated: Lay sweeps over one another by the motion that is told from what is found in each of them alone,
            where there are no poses.
        kept: What was found, by sequence.
    """

    model: CentreDetector | None = None
    reading: SweepReading | None = None
    images: Path | None = None
    estimated: bool = False
    kept: dict[str, Objects] = field(default_factory=dict[str, Objects])

    def sequences(self, recipes: Sequence[Recipe]) -> list[str]:
        """Return the names of all folders of sweeps.

        Raises:
            DataError: If there is none.
        """
        if not self.detections.is_dir() or not (
            found := sorted(p.name for p in self.detections.iterdir() if p.is_dir())
        ):
            raise DataError(f"{self.detections}: holds no folder of a sequence, NNNN/000000.bin. Check it.")
        return found

    def read(self, kind: str, name: str) -> Objects:
        """Return what is found of a class in the sweeps of a sequence.

        Raises:
            DataError: If a file is missing or cannot be used, or the detector has no such class; names it.
        """
        if name not in self.kept:
            self.kept[name] = self._found(name)
        found = self.kept[name]
        if kind not in found.classes:
            raise DataError(f"the detector finds {', '.join(found.classes)}, a recipe follows {kind!r}: take another.")
        return found.of_class(kind)

    def _found(self, name: str) -> Objects:
        """What is found in a sequence, in the axes of its boxes."""
        model, reading, file = self.model, self.reading, self.calibration / f"{name}.txt"
        if model is None or reading is None:
            raise DataError(
                "sweeps need a detector and how it reads them: give --detector, and a recipe with `sweeps`."
            )
        if not file.is_file():
            raise DataError(f"{file}: there is no calibration of sequence {name}. Give its folder as --calibration.")
        files = SweepFiles(self.detections / name, read_calibration(file), reading, self._pictures(name))
        if self.poses is not None:
            way = read_planar_poses(self.poses / f"{name}.txt", file)
            if len(way) < files.frames:
                raise DataError(f"sequence {name} has {len(way)} poses and {files.frames} sweeps: needed one a sweep.")
            return files.found(model, way)
        alone = files.found(model, None)
        if not self.estimated or max(reading.before) == 0:
            return alone
        own = [(alone.of_class(kind), ToldNoise()) for kind in alone.classes]
        return files.found(model, estimate_path(own).poses)

    def _pictures(self, name: str) -> Path | None:
        return None if self.images is None else self.images / name


class SweepFiles:
    """The sweeps of one sequence.

    Args:
        folder: Of `000000.bin`.
        calibration: Of the sequence.
        reading: How they are handed to a detector.
        pictures: Folder of `000000.png`; None: none are read.

    Raises:
        DataError: If a folder is missing or holds nothing.
    """

    def __init__(
        self, folder: Path, calibration: Calibration, reading: SweepReading, pictures: Path | None = None
    ) -> None:
        self.folder, self.calibration, self.reading = folder, calibration, reading
        self.sweeps = numbered(folder, (".bin",))
        self.pictures = None if pictures is None or reading.picture is None else numbered(pictures, PICTURES)

    @property
    def frames(self) -> int:
        """How many frames there are: the last sweep's number and one."""
        return max(self.sweeps) + 1

    def found(self, model: CentreDetector, way: Tensor | None) -> Objects:
        """Return what a detector finds, frame by frame; a frame without a sweep is empty.

        Args:
            model: The detector.
            way: Planar poses of the boxes' axes, shape (F, 4); None: each sweep stands alone.
        """
        before = self.reading.before if way is not None else (0,)
        numbers, parts = sorted(self.sweeps), list[tuple[list[int], Found]]()
        for at in range(0, len(numbers), self.reading.batch_size):
            some = numbers[at : at + self.reading.batch_size]
            context = [n for n in range(some[0] - max(before), some[0]) if n in self.sweeps]
            table = self._table([*context, *some], way)
            rows = torch.arange(len(context), len(table))
            # Sweeps are counted by their numbers: where one is missing, what lies before it is left out.
            gapless = some[-1] - (context or some)[0] + 1 == len(context) + len(some)
            batch = table.batch(rows, before if gapless else (0,))
            found = model.find(batch.points, batch.images, batch.projection)
            looked = batch.points[:, :, 0].isfinite().any(1) | (batch.images is not None)
            parts.append((some, found._replace(score=found.score * looked[:, None])))  # of nothing comes nothing
        boxes = {name: torch.cat([getattr(found, name) for _, found in parts]) for name in Found._fields}
        shown = torch.tensor([number for some, _ in parts for number in some])
        whole = {
            name: part.new_zeros(self.frames, *part.shape[1:]).index_copy(0, shown, part.cpu())
            for name, part in boxes.items()
        }
        stamps = torch.arange(self.frames) * PERIOD
        made = self._placed(scored_objects(Found(**whole), stamps, model.classes, self.reading.least))
        # Velocities are over the ground: to a tracker that does not know how the sensor moves they would be others.
        return made if way is not None else replace(made, velocity=None)

    def _table(self, numbers: list[int], way: Tensor | None) -> SweepTable:
        """Some sweeps as one drive."""
        names, stamps = dict[str, str](), np.array(numbers, dtype=np.int64) * PERIOD
        tables = [read_points(self.sweeps[n], POINT)[0].astype(np.float64) for n in numbers]
        splits = np.cumsum([0, *map(len, tables)]).astype(np.int64)
        ragged = {"lidar": RaggedStream(stamps, splits, np.concatenate(tables), POINT, ("m", "m", "m", ""), "lidar")}
        images, picture = dict[str, ImageStream](), None
        if self.pictures is not None and self.reading.picture is not None:
            if lacking := [n for n in numbers if n not in self.pictures]:
                raise DataError(
                    f"{self.folder}: sweep {lacking[0]:06d} has no picture. Give all, or leave --images out."
                )
            files, height, width = [self.pictures[n] for n in numbers], *self.reading.picture
            images["camera_2"] = ImageStream(stamps, files, "camera_2", self.calibration.intrinsics(2))
            picture = RecordedPicture("camera_2", (height, width))
        recording = Recording(self.folder.name, {}, {}, ragged, images, self.calibration.frames("lidar"))
        table = RecordedSweeps(_One(recording), names, seat=self.reading.seat, picture=picture).sweeps()
        if not table.points.shape[1]:
            table = replace(table, points=table.points.new_full((len(table), 1, 4), torch.nan))
        pose = table.pose if way is None else spatial(way[torch.tensor(numbers)]) @ self.place
        return replace(table, drive=torch.zeros_like(table.drive), pose=pose)

    @property
    def place(self) -> Tensor:
        """What takes points of the detector's axes to those of boxes, (4, 4): about the rectified camera, z up."""
        return _AXES @ torch.from_numpy(self.calibration.lidar_to_rect) @ torch.linalg.inv(self.reading.seat.matrix())

    def _placed(self, found: Objects) -> Objects:
        """Boxes in the axes that KITTI's files have them in, under KITTI's names; classes without one are left out."""
        place, unit = self.place, torch.eye(7, dtype=torch.float64)
        heading = torch.atan2(place[1, 0], place[0, 0])
        unit[:2, :2] = turns(heading)
        boxes = found.boxes.clone()
        boxes[:, :3] = boxes[:, :3] @ place[:3, :3].T + place[:3, 3]
        boxes[:, 6] = wrapped(boxes[:, 6] + heading)
        named = [name for name in found.classes if name in self.reading.names]
        moved = replace(
            found, boxes=boxes, covariance=None if found.covariance is None else unit @ found.covariance @ unit.T,
            velocity=None if found.velocity is None else found.velocity @ place[:3, :3].T,
        )  # fmt: skip
        kept = moved.of_class(*named)
        number = torch.tensor([named.index(name) if name in named else 0 for name in found.classes])
        return replace(kept, labels=number[kept.labels], classes=tuple(self.reading.names[name] for name in named))


def spatial(way: Tensor) -> Tensor:
    """Return planar poses (F, 4) as matrices (F, 4, 4)."""
    made = torch.eye(4, dtype=torch.float64).repeat(len(way), 1, 1)
    made[:, :2, :2], made[:, :3, 3] = turns(way[:, 3]), way[:, :3]
    return made


def numbered(folder: Path, endings: tuple[str, ...]) -> dict[int, Path]:
    """Return the files of a folder by the number that is their name.

    Raises:
        DataError: If the folder is missing or holds none.
    """
    files = [path for path in folder.iterdir() if path.suffix in endings] if folder.is_dir() else []
    found = {int(path.stem): path for path in sorted(files) if path.stem.isdigit()}
    if not found:
        raise DataError(f"{folder}: holds no file 000000{endings[0]}. Give the folder that holds a folder a sequence.")
    return found


@dataclass(frozen=True)
class _One:
    """A source of one recording."""

    recording: Recording

    def recordings(self) -> list[Recording]:
        return [self.recording]
