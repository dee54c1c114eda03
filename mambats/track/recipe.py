"""What a recipe says of a class: who follows it, and how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mambats.recipe import RecipeError, load_recipe, rebuild
from mambats.track.camera import CameraEvidence
from mambats.track.ego_motion import EgoEstimator
from mambats.track.silhouette import Silhouette
from mambats.track.tracker import Tracker


class Recipe(NamedTuple):
    """What a recipe says of a class.

    Args:
        kind: The class.
        tracker: That follows it.
        camera: What a camera adds to its detections.
        ego: Who tells the sensor's motion.
        silhouette: How wide its bodies look in the picture.
    """

    kind: str
    tracker: Tracker
    camera: CameraEvidence | None = None
    ego: EgoEstimator | None = None
    silhouette: Silhouette | None = None


def read_recipe(path: Path, checkpoint: Path | None = None) -> Recipe:
    """Read the class and the tracker of a recipe; a checkpoint's noise takes the place of its own.

    Raises:
        RecipeError: If it names no class or no tracker, or the checkpoint holds no noise for the class.
        CheckpointError: If the checkpoint cannot be read.
    """
    return _recipe(load_recipe(path), path, checkpoint)


def read_recipes(path: Path, checkpoint: Path | None = None) -> list[Recipe]:
    """Read the one class of a recipe, or all of its list `trackers`; as `read_recipe`."""
    content = load_recipe(path)
    listed = content.get("trackers")
    if listed is None:
        return [_recipe(content, path, checkpoint)]
    if not isinstance(listed, list) or not listed:
        raise RecipeError(f"{path}: `trackers` is {listed!r}, needed a list of `class` and `tracker`.")
    entries: list[Any] = listed  # pyright: ignore[reportUnknownVariableType]
    shared = {name: content[name] for name in ("ego",) if name in content}
    return [_recipe({**shared, **entry}, path, checkpoint) for entry in entries]


def _recipe(content: dict[str, Any], path: Path, checkpoint: Path | None) -> Recipe:
    if not isinstance(content.get("class"), str) or not isinstance(content.get("tracker"), dict):
        raise RecipeError(f"{path}: has no `class` or no `tracker`. Take recipes/track/kitti_car.yaml for a start.")
    tracker = rebuild(content["tracker"])
    if not isinstance(tracker, Tracker):
        raise RecipeError(f"{path}: `tracker` is a {type(tracker).__name__}, needed a mambats.track.Tracker.")
    if checkpoint is not None:
        from mambats.track.learned.tracker import calibrated

        try:
            tracker = calibrated(tracker, checkpoint, content["class"])
        except ValueError as error:
            raise RecipeError(str(error)) from error
    camera = None if content.get("camera") is None else rebuild(content["camera"])
    if not isinstance(camera, CameraEvidence | None):
        raise RecipeError(f"{path}: `camera` is a {type(camera).__name__}, needed a mambats.track.CameraEvidence.")
    if camera is not None and checkpoint is not None:
        # What a learned tracker remembers of each track knows nothing of pictures.
        camera.alone = camera.heir = camera.claims = None
    ego = None if content.get("ego") is None else rebuild(content["ego"])
    if not isinstance(ego, EgoEstimator | None):
        raise RecipeError(f"{path}: `ego` is a {type(ego).__name__}, needed a mambats.track.ego_motion.EgoEstimator.")
    silhouette = None if content.get("silhouette") is None else rebuild(content["silhouette"])
    if not isinstance(silhouette, Silhouette | None):
        raise RecipeError(f"{path}: `silhouette` is a {type(silhouette).__name__}, needed a mambats.track.Silhouette.")
    return Recipe(content["class"], tracker, camera, ego, silhouette)
