"""Which boxes count on nuScenes: those within a class's range, gaps filled, compared by distance of centres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch

from mambats.track.metrics.interpolate import interpolated
from mambats.track.metrics.recall import mean_scores
from mambats.track.metrics.rule import scene_of
from mambats.track.metrics.scene import Scene
from mambats.track.objects import Objects

#: How far from the car a class counts, m.
RANGES = MappingProxyType(
    {"car": 50.0, "truck": 50.0, "bus": 50.0, "trailer": 50.0, "van": 50.0}
    | dict.fromkeys(("pedestrian", "cyclist", "bicycle", "motorcycle"), 40.0)
)


@dataclass(frozen=True)
class NuscenesRule:
    """Boxes of one class within its range count; gaps of labels and tracks are filled.

    Boxes must stand in the car's own frame. The benchmark leaves out labels without a LiDAR or radar point and bicycles
    in racks: leave them out before, `Objects` holds no points.

    Args:
        name: Class, as both sides call it.
        ranges: By class in lower case, m; a class not named counts everywhere.

    Source: Caesar et al., nuScenes, CVPR 2020; nuscenes-devkit, `eval/tracking`.
    """

    name: str
    ranges: Mapping[str, float] = field(default_factory=lambda: RANGES)

    def __call__(self, labels: Objects, tracks: Objects) -> Scene:
        """Return the scene of one sequence, similarity `centre`, scores the mean of every track.

        Raises:
            ValueError: As `scene_of`.
        """
        reach = self.ranges.get(self.name.lower(), torch.inf)
        near = [_within(side.of_class(self.name), reach) for side in (labels, tracks)]
        scene = scene_of(near[0], near[1], "centre")
        mean = torch.from_numpy(mean_scores(scene.tracks, scene.tracks.score))
        return scene_of(interpolated(near[0]), interpolated(replace(near[1], score=mean)), "centre")


def _within(objects: Objects, reach: float) -> Objects:
    own = objects if objects.identity is None else objects.take(objects.identity >= 0)
    return own.take(torch.hypot(own.boxes[:, 0], own.boxes[:, 1]) < reach)
