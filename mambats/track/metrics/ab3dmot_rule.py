"""Which boxes count in AB3DMOT's evaluator: all may be matched, some neither count nor hurt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mambats.track.metrics.kitti_rule import regions_of, unseen, with_identity
from mambats.track.metrics.rule import scene_of
from mambats.track.metrics.scene import Scene
from mambats.track.metrics.similarity import Name
from mambats.track.objects import Objects

# Seated people are called Person in KITTI's tracking labels: AB3DMOT asks for another word and so leaves them out.
_NEIGHBOURS = {"Car": ("Van",), "Pedestrian": ("Person_sitting",)}


@dataclass(frozen=True)
class Ab3dmotRule:
    """Labels of neighbouring classes, occluded or truncated too much are excused; so are tracks low in the picture.

    Unlike `KittiRule`, a match with an excused label counts as found, and such a label may take a track from another.

    Args:
        name: Class, as in the files: Car, Pedestrian, Cyclist.
        similarity: See `similarity_of_pairs`.
        occluded: Most that counts (0 visible, 1 partly, 2 largely, 3 unknown).
        truncated: Most that counts, whole numbers (shares are cut to them).
        height: Tracks without a match count above it, px.

    Source: Weng et al., 3D Multi-Object Tracking: A Baseline and New Evaluation Metrics, IROS 2020, and the evaluator
    published with it.
    """

    name: str
    similarity: Name = "iou_3d"
    occluded: int = 2
    truncated: int = 0
    height: float = 25.0

    def __call__(self, labels: Objects, tracks: Objects) -> Scene:
        """Return the scene of one sequence; boxes that do not count are marked in it.

        Raises:
            ValueError: As `scene_of`, or if labels lack occluded or truncated.
        """
        neighbours = [one for one in _NEIGHBOURS.get(self.name, ()) if one in labels.classes]
        near = with_identity(labels.of_class(self.name, *neighbours))
        own = with_identity(tracks.of_class(self.name))
        if near.occluded is None or near.truncated is None:
            raise ValueError("labels lack occluded and truncated, which AB3DMOT's rule needs: take PlainRule.")
        hard = (near.occluded > self.occluded) | (near.truncated.trunc() > self.truncated)
        hard |= near.labels != near.classes.index(self.name)
        scene = scene_of(near, own, self.similarity)
        excused = unseen(own, regions_of(labels), self.height)
        return replace(
            scene,
            labels=replace(scene.labels, excused=hard.cpu().numpy()),
            tracks=replace(scene.tracks, excused=np.asarray(excused)),
        )
