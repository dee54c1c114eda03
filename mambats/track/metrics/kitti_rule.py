"""Which boxes count on KITTI, as TrackEval has it, for any similarity and for cyclists too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mambats.track.metrics.assign import EPS, best_pairs
from mambats.track.metrics.rule import scene_of
from mambats.track.metrics.scene import Flags, Scene
from mambats.track.metrics.similarity import Name
from mambats.track.objects import Objects
from mambats.track.overlap import share_within_2d_of_pairs

#: Classes that are so like another that tracks on them are no mistakes. A cyclist has none.
NEIGHBOURS = {"Car": ("Van",), "Pedestrian": ("Person", "Person_sitting"), "Cyclist": ()}
_IGNORED = "DontCare"


@dataclass(frozen=True)
class KittiRule:
    """Labels that are hard to see, classes alike and regions not labelled neither count nor hurt.

    A track matched with a label of a neighbouring class, occluded or truncated too much, is taken out with it. A track
    without a match is taken out where it is low in the picture or lies by half in a DontCare region; tracks without a
    box in the picture are left in.

    Args:
        name: Class, as in the files: Car, Pedestrian, Cyclist.
        similarity: See `similarity_of_pairs`; the benchmark has `iou_2d`.
        threshold: Least similarity of a match with what is taken out.
        occluded: Most that counts (0 visible, 1 partly, 2 largely, 3 unknown).
        truncated: Most that counts, whole numbers (shares are cut to them).
        height: Tracks without a match count above it, px.

    Source: KITTI's tracking benchmark; TrackEval's `Kitti2DBox`, which has cars and pedestrians.
    """

    name: str
    similarity: Name = "iou_2d"
    threshold: float = 0.5
    occluded: int = 2
    truncated: int = 0
    height: float = 25.0

    def __call__(self, labels: Objects, tracks: Objects) -> Scene:
        """Return the scene of one sequence.

        Raises:
            ValueError: As `scene_of`, or if labels lack occluded or truncated.
        """
        neighbours = [one for one in NEIGHBOURS.get(self.name, ()) if one in labels.classes]
        near = with_identity(labels.of_class(self.name, *neighbours))
        own = with_identity(tracks.of_class(self.name))
        scene = scene_of(near, own, self.similarity)
        counts = self._counts(near)
        matched = best_pairs(scene, np.where(scene.similarity >= self.threshold - EPS, scene.similarity, 0.0))
        label, track = (rows[matched] for rows in scene.rows)
        kept = ~unseen(own, regions_of(labels), self.height)
        kept[track] = counts[label]
        return scene.take(counts, kept)

    def _counts(self, labels: Objects) -> Flags:
        """Return which labels count, (N,) bool."""
        if labels.occluded is None or labels.truncated is None:
            raise ValueError("labels lack occluded and truncated, which KITTI's rule needs: take PlainRule.")
        own = labels.labels == labels.classes.index(self.name)
        seen = (labels.occluded <= self.occluded) & (labels.truncated.trunc() <= self.truncated)
        return (own & seen).cpu().numpy()


def regions_of(labels: Objects) -> Objects:
    """Return the regions that are not labelled."""
    return labels.of_class(_IGNORED) if _IGNORED in labels.classes else labels.take(_none(labels))


def unseen(tracks: Objects, regions: Objects, height: float, share: float = 0.5) -> Flags:
    """Return which tracks are no mistakes where they match nothing: low in the picture, or in a region not labelled.

    Args:
        tracks: T boxes; those without pixels are never unseen.
        regions: Of the same frames.
        height: Tracks of at most this many pixels are unseen.
        share: Tracks are unseen of which more than this lies in one region.

    Returns:
        Shape (T,) bool.
    """
    if tracks.pixels is None:
        return np.zeros(len(tracks.boxes), dtype=np.bool_)
    pixels = tracks.pixels.cpu()
    found = (pixels[:, 3] - pixels[:, 1]) <= height + EPS
    if regions.pixels is not None and len(regions.pixels):
        # Regions are few: of each track, all of its frame, padded to the fullest frame.
        counts = regions.splits.diff().cpu()
        frames = tracks.frames.cpu()
        column = torch.arange(int(counts.max()))
        row = (regions.splits.cpu()[frames, None] + column).clamp_max(len(regions.pixels) - 1)
        inside = share_within_2d_of_pairs(pixels[:, None], regions.pixels.cpu()[row])
        found |= ((inside > share + EPS) & (column < counts[frames, None])).any(-1)
    return found.numpy()


def _none(objects: Objects) -> torch.Tensor:
    return torch.zeros(len(objects.boxes), dtype=torch.bool, device=objects.boxes.device)


def with_identity(objects: Objects) -> Objects:
    """Leave out boxes marked by a negative identity, as the benchmark does."""
    return objects if objects.identity is None else objects.take(objects.identity >= 0)
