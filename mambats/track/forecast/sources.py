"""Scenes from files in KITTI's layout, and from simulated worlds that a tracker followed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from mambats.formats.error import DataError
from mambats.formats.kitti import read_detections, read_tracks
from mambats.track.forecast.labelled import LabelFilter
from mambats.track.forecast.scene import Scene, joined, scene_of
from mambats.track.kitti import from_kitti
from mambats.track.tracker import Tracker


class KittiLabels:
    """Labelled bodies of KITTI's tracking benchmark: each a track, its boxes filtered with the association known.

    Args:
        root: Folder with `label_02/NNNN.txt`; None is fusion/kitti_tracking where MAMBATS_DATA points to.
        classes: Names.
        filter_: Makes states of boxes.

    Raises:
        DataError: From `scenes`, if there is no label file.
    """

    name = "kitti_labels"

    def __init__(
        self,
        root: str | None = None,
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        filter_: LabelFilter | None = None,
    ) -> None:
        self.root, self.classes, self.filter_ = root, tuple(classes), filter_

    def scenes(self) -> list[Scene]:
        """Return the scenes of all sequences."""
        filtered = self.filter_ or LabelFilter()
        return [filtered(path.stem, from_kitti(read_tracks(path)), self.classes) for path in _labels(self.root)]


class KittiTracks:
    """What trackers made of detections in KITTI's layout, beside the labels: errors, switches and late births included.

    Args:
        recipes: Files as of `mambats track`, one a class.
        root: As of `KittiLabels`, with `detections/CLASS/NNNN.txt` too.
        detections: Folder of detections in it.
        reach: How far a body may be from the track that follows it, metres.

    Raises:
        DataError: From `scenes`, if there is no label file.
    """

    name = "kitti_tracks"

    def __init__(
        self,
        recipes: Sequence[str],
        root: str | None = None,
        detections: str = "det3d_pointrcnn",
        reach: float = 2.0,
    ) -> None:
        self.recipes, self.root, self.detections, self.reach = recipes, root, detections, reach

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the recipes follow."""
        from mambats.track.recipe import read_recipe  # it reads tables, which training on arrays does not need

        return tuple(read_recipe(Path(one)).kind for one in self.recipes)

    def scenes(self) -> list[Scene]:
        """Return the scenes of all sequences."""
        made = list[Scene]()
        for path in _labels(self.root):
            parts = [self._followed(path, Path(one), label) for label, one in enumerate(self.recipes)]
            made.append(joined(parts))
        return made

    def _followed(self, labels: Path, recipe: Path, label: int) -> Scene:
        from mambats.track.recipe import read_recipe

        kind, tracker, *_ = read_recipe(recipe)
        file = labels.parent.parent / self.detections / kind / labels.name
        frames = max(len(read_tracks(labels).stamps), len(read_detections(file).stamps))
        found, truth = (from_kitti(one) for one in (read_detections(file, frames), read_tracks(labels, frames)))
        bodies = truth.of_class(kind) if kind in truth.classes else truth.take(torch.zeros_like(truth.labels).bool())
        return scene_of(labels.stem, tracker.run(found.of_class(kind)), bodies, label, self.reach)


class Worlds(Protocol):
    """A simulator of scenes: `mambats_datasets.synthetic.crossing.CrossingWorlds`."""

    def batch(self, count: int, generator: torch.Generator) -> Any:
        """Simulate scenes; what comes back gives truth and detections of a scene by `objects(row)`."""
        ...


class TrackedWorlds:
    """Simulated scenes as trackers, one a class, followed them online.

    Args:
        worlds: The simulator.
        trackers: By the name of the class.
        count: Scenes.
        seed: Of the simulation.
        reach: How far a body may be from the track that follows it, metres.
    """

    name = "tracked_worlds"

    def __init__(
        self, worlds: Worlds, trackers: Mapping[str, Tracker], count: int = 24, seed: int = 0, reach: float = 2.0
    ) -> None:
        if count < 1:
            raise DataError(f"count is {count}: needed 1 scene or more.")
        self.worlds, self.trackers, self.count, self.seed, self.reach = worlds, dict(trackers), count, seed, reach

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are followed."""
        return tuple(self.trackers)

    def scenes(self) -> list[Scene]:
        """Return the scenes, the same for the same seed."""
        drawn = self.worlds.batch(self.count, torch.Generator().manual_seed(self.seed))
        made = list[Scene]()
        for row in range(self.count):
            truth, found = drawn.objects(row)
            parts = [
                scene_of(f"{row:04d}", one.run(found.of_class(kind)), truth.of_class(kind), label, self.reach)
                for label, (kind, one) in enumerate(self.trackers.items())
            ]
            made.append(joined(parts))
        return made


def _labels(root: str | None) -> list[Path]:
    """Label files below a folder, in order.

    Raises:
        DataError: If there is none.
    """
    if root is None and "MAMBATS_DATA" not in os.environ:
        raise DataError("root is not given: name KITTI's tracking folder, or set MAMBATS_DATA.")
    folder = Path(root) if root is not None else Path(os.environ["MAMBATS_DATA"]) / "fusion" / "kitti_tracking"
    files = sorted((folder / "label_02").glob("*.txt"))
    if not files:
        raise DataError(f"{folder / 'label_02'}: holds no labels NNNN.txt. Give the folder above it as root.")
    return files
