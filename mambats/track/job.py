"""A tracking job over files in KITTI's formats: what `mambats track` does, sequence by sequence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.formats.kitti import read_calibration, read_detections, read_detections_2d, write_tracks
from mambats.series import RaggedStream
from mambats.track.ego_path import EgoPath, estimate_path
from mambats.track.history import History
from mambats.track.kitti import from_kitti, to_kitti
from mambats.track.kitti_pose import read_planar_poses
from mambats.track.objects import Objects
from mambats.track.overlap import iou_2d_of_pairs
from mambats.track.pictures.scene import Scene, joined, scene_of
from mambats.track.projection import Picture, in_picture, outlined, project
from mambats.track.recipe import Recipe
from mambats.track.telling import Mode, tell
from mambats.track.two_sensors import run_pictured

Ego = Literal["poses", "estimated", "none"]
#: Median overlap of detections' own pixels with their projected boxes below which the calibration is another's.
SAME_CALIBRATION = 0.5


@dataclass(frozen=True)
class Sources:
    """Folders of files `NNNN.txt`, one a sequence.

    Args:
        detections: Boxes in space, in the folder itself or in a folder a class.
        calibration: Of every sequence.
        camera: Boxes in the picture, a folder a class.
        poses: OXTS rows.
    """

    detections: Path
    calibration: Path
    camera: Path | None = None
    poses: Path | None = None

    def sequences(self, recipes: Sequence[Recipe]) -> list[str]:
        """Return the names of all sequences that have detections of a class.

        Raises:
            DataError: If there is none.
        """
        folders = {self.folder(one.kind) for one in recipes}
        names = sorted({path.stem for folder in folders for path in folder.glob("*.txt")})
        if not names:
            raise DataError(f"{self.detections}: holds no detections NNNN.txt, nor in a folder of a class. Check it.")
        return names

    def folder(self, kind: str) -> Path:
        """Return the folder of a class's detections."""
        return self.detections / kind if (self.detections / kind).is_dir() else self.detections

    def read(self, kind: str, name: str) -> Objects:
        """Return the detections of a class in a sequence.

        Raises:
            DataError: If the file is missing or cannot be used, or holds another class; names it.
        """
        path = self.folder(kind) / f"{name}.txt"
        objects = from_kitti(read_detections(path))
        if kind not in objects.classes:
            raise DataError(f"{path}: holds {', '.join(objects.classes)}, the recipe follows {kind!r}: take another.")
        return objects.of_class(kind)


@dataclass(frozen=True)
class Tracked:
    """The tracks of a sequence, ready to be written."""

    name: str
    stream: RaggedStream
    count: int
    frames: int
    seconds: float
    scene: Scene

    def write(self, folder: Path) -> Path:
        """Write `NNNN.txt` as a whole or not at all; return its path."""
        return write_tracks(folder / f"{self.name}.txt", self.stream)


@dataclass(frozen=True)
class Job:
    """Trackers of some classes over sequences.

    Args:
        recipes: One a class.
        sources: Where files are.
        mode: What may be known of the future.
        lag: Seconds, of `fixed-lag`.
        pixels: `detection` takes the box in the picture of the detection behind a track where there is one.
        every: Tell of doubtful tracks too, with their scores, see `tell`.
        ego: Where the sensor's motion comes from. None: poses where there are some, else as a recipe says (`ego`: who
            tells it from the detections of all classes followed), else nowhere.

    Raises:
        DataError: If motion is to come from poses, and there are none, or if two recipes follow one class.
    """

    recipes: Sequence[Recipe]
    sources: Sources
    mode: Mode = "online"
    lag: float = 2.0
    pixels: str = "detection"
    every: bool = False
    ego: Ego | None = None

    def __post_init__(self) -> None:
        """Check that there are poses where they are asked for, and that no class is followed twice."""
        for kind, count in Counter(one.kind for one in self.recipes).items():
            if count > 1:
                raise DataError(f"{count} recipes follow {kind}: needed one a class.")
        if self.ego == "poses" and self.sources.poses is None:
            raise DataError("the sensor's motion is to come from poses, and there are none: give --poses.")

    @property
    def label(self) -> str:
        """The mode as results name it."""
        return f"{self.mode} ({self.lag:g} s)" if self.mode == "fixed-lag" else self.mode

    def track(self, name: str) -> Tracked:
        """Follow all classes through a sequence.

        Raises:
            DataError: If a file is missing or cannot be used; names it.
        """
        camera = self._camera(name)
        read = [self.sources.read(recipe.kind, name) for recipe in self.recipes]
        poses = self._poses(name)
        pictured = [self._pictured(recipe, name) for recipe in self.recipes]
        lengths = [len(one) for one in (*read, *pictured) if one is not None]
        frames = max(lengths, default=0) if poses is None else len(poses)
        read = [lasting(found, frames, name) for found in read]
        began = time.process_time()
        path = self._told_path(read)
        poses = poses if path is None else path.poses
        told, scenes, seconds = list[Objects](), list[Scene](), time.process_time() - began
        for recipe, objects, second in zip(self._recipes(path), read, pictured, strict=True):
            added = None
            _check_calibration(objects, camera, self.sources.calibration / f"{name}.txt")
            picture = Picture.of(objects, camera, recipe.silhouette)
            objects = outlined(objects, picture)
            if second is not None and recipe.camera is not None:
                objects, added = recipe.camera(objects, lasting(second, frames, name))
            began = time.process_time()
            history = _followed(recipe, objects, picture, poses, added)
            made = tell(history, objects, self.mode, self.lag, confirmed=not self.every)
            seconds += time.process_time() - began
            told.append(in_picture(made, picture, own=self.pixels == "detection"))
            scenes.append(scene_of(told[-1], objects, self.label, name=name, history=history))
        tracks = _together(told)
        count = len(tracks.identity.unique()) if tracks.identity is not None else 0
        return Tracked(name, to_kitti(tracks), count, frames, seconds, joined(scenes))

    def _poses(self, name: str) -> Tensor | None:
        """Where the sensor stood as its OXTS say, where these are to be read."""
        if self.sources.poses is None or self.ego not in (None, "poses"):
            return None
        file = f"{name}.txt"
        return read_planar_poses(self.sources.poses / file, self.sources.calibration / file)

    def _told_path(self, read: Sequence[Objects]) -> EgoPath | None:
        """The sensor's way as the detections of all classes tell it, where they are to be asked."""
        own = next((recipe.ego for recipe in self.recipes if recipe.ego is not None), None)
        if self.ego != "estimated" and (self.ego is not None or self.sources.poses is not None or own is None):
            return None
        seen = [(one, recipe.tracker.detector) for one, recipe in zip(read, self.recipes, strict=True)]
        return estimate_path(seen, own)

    def _recipes(self, path: EgoPath | None) -> Sequence[Recipe]:
        """The recipes, whose trackers doubt what is seen from a way that is only told."""
        if path is None:
            return self.recipes
        return [recipe._replace(tracker=path.doubted(recipe.tracker)) for recipe in self.recipes]

    def _pictured(self, recipe: Recipe, name: str) -> Objects | None:
        """What the camera saw, where there is one and the recipe says what it is worth."""
        if self.sources.camera is None or recipe.camera is None:
            return None
        path = self.sources.camera / recipe.kind / f"{name}.txt"
        return from_kitti(read_detections_2d({recipe.kind: path})).of_class(recipe.kind)

    def _camera(self, name: str) -> Tensor:
        path = self.sources.calibration / f"{name}.txt"
        if not path.is_file():
            raise DataError(f"{path}: there is no calibration of sequence {name}. Give its folder as --calibration.")
        return torch.from_numpy(read_calibration(path).projection(2))


def _followed(
    recipe: Recipe, objects: Objects, picture: Picture, poses: Tensor | None, added: Tensor | None
) -> History:
    """Run a recipe's tracker, in the picture too where a camera looked and the recipe says what it is worth."""
    evidence = recipe.camera
    if added is None or evidence is None or not evidence.in_time:
        return recipe.tracker.run(objects, poses, added)
    return run_pictured(recipe.tracker, evidence, objects, picture, poses=poses, added=added)


def _check_calibration(objects: Objects, camera: Tensor, path: Path) -> None:
    """Refuse a calibration under which detections are not where their own pixels say."""
    if objects.pixels is None or not len(objects.boxes):
        return
    drawn = project(objects.boxes, Picture.of(objects, camera))
    both = ~(drawn.isnan() | objects.pixels.isnan()).any(-1)
    alike = float(iou_2d_of_pairs(drawn[both], objects.pixels[both]).median()) if bool(both.any()) else 0.0
    if alike < SAME_CALIBRATION:
        raise DataError(
            f"{path}: projects the detections' boxes to where their pixels are not (median overlap {alike:.2f}): it "
            "is the calibration of another sequence. Give the folder that belongs to the detections."
        )


def lasting(objects: Objects, frames: int, name: str) -> Objects:
    """Return the objects over so many frames, the last of which may be empty.

    Raises:
        DataError: If they last longer.
    """
    from mambats.formats.kitti.boxes import PERIOD

    missing = frames - len(objects)
    if missing < 0:
        raise DataError(f"sequence {name} has {frames} poses, its detections go on to frame {len(objects) - 1}.")
    stamps = torch.arange(frames, dtype=torch.int64) * PERIOD
    splits = torch.cat([objects.splits, objects.splits[-1:].expand(missing)])
    return replace(objects, stamps=stamps, splits=splits)


def _together(told: Sequence[Objects]) -> Objects:
    """Tracks of several classes in one table, no identity twice."""
    first = told[0]
    if len(told) == 1:
        return first
    frame = torch.cat([one.frames for one in told])
    order = torch.argsort(frame, stable=True)
    base, identities = 0, list[Tensor]()
    for one in told:
        own = one.identity if one.identity is not None else torch.zeros(0, dtype=torch.int64)
        identities.append(own + base)
        base += int(own.max()) + 1 if len(own) else 0

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in told])[order]

    counts = torch.bincount(frame, minlength=len(first))
    return Objects(
        stamps=first.stamps,
        splits=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        boxes=joined("boxes"),
        labels=joined("labels"),
        classes=first.classes,
        score=joined("score"),
        identity=torch.cat(identities)[order],
        pixels=joined("pixels"),
    )
