"""Padded tensors of one scene as ragged streams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mambats.series import RaggedStream, Stamps
from mambats_datasets.synthetic.world.detections import Detections, Targets
from mambats_datasets.synthetic.world.detections_2d import Detections2D
from mambats_datasets.synthetic.world.kinds import LABELS
from mambats_datasets.synthetic.world.landmarks import Sightings
from mambats_datasets.synthetic.world.lidar import Sweep
from mambats_datasets.synthetic.world.outline import Outlines

BOX = ("x", "y", "z", "l", "w", "h", "yaw")
BOX_UNITS = ("m",) * 6 + ("rad",)
SIDES = ("left", "top", "right", "bottom")
CLASSES = {"class": LABELS}


def ragged(
    stamps: Stamps, kept: Tensor, columns: tuple[Tensor, ...], channels: tuple[str, ...], units: tuple[str, ...]
) -> RaggedStream:
    """Lay the kept rows of padded tables behind one another.

    Args:
        stamps: Shape (T,).
        kept: Shape (T, D) bool.
        columns: Tensors (T, D) or (T, D, n), side by side; in the dtype of the first.
        channels: One name a column.
        units: One unit a column.
    """
    wide = [column[..., None] if column.ndim == 2 else column for column in columns]
    values = torch.cat([column[kept].to(columns[0].dtype) for column in wide], -1).cpu().numpy()
    splits = np.concatenate([[0], kept.sum(-1).cumsum(0).cpu().numpy()]).astype(np.int64)
    labels = {name: words for name, words in CLASSES.items() if name in channels}
    return RaggedStream(stamps, splits, values, channels, units, "", labels)


def only(stream: RaggedStream, rows: Tensor, frame: str) -> RaggedStream:
    """Keep the tables of some stamps, (T,) bool, and say in which frame they are."""
    kept = rows.cpu().numpy()
    counts = np.diff(stream.splits)
    splits = np.concatenate([[0], counts[kept].cumsum()]).astype(np.int64)
    values = stream.values[np.repeat(kept, counts)]
    return replace(stream, stamps=stream.stamps[kept], splits=splits, values=values, frame=frame)


def sweeps(stamps: Stamps, sweep: Sweep) -> RaggedStream:
    """Points of one scene that came back: x y z [m], intensity, ring, t [s], as they were measured, not de-skewed."""
    shape = sweep.returned.shape[1:]
    columns = (sweep.points[0], sweep.intensity[0], sweep.ring.expand(shape), sweep.t.expand(shape))
    channels = ("x", "y", "z", "intensity", "ring", "t")
    return ragged(stamps, sweep.returned[0], columns, channels, ("m", "m", "m", "", "", "s"))


def hit_objects(stamps: Stamps, sweep: Sweep) -> RaggedStream:
    """Row by row of `sweeps`, what was hit: index of the object (-1 the ground) and class. Truth."""
    columns = (sweep.object[0].float(), sweep.kind[0])
    return ragged(stamps, sweep.returned[0], columns, ("track", "class"), ("", ""))


def labels(stamps: Stamps, targets: Targets) -> RaggedStream:
    """What there is, with velocity over the ground, identity, class and visible share. Truth."""
    alive = targets.alive[0]
    track = torch.arange(alive.shape[1], device=alive.device).expand_as(alive)
    columns = (targets.box[0], targets.velocity[0], track, targets.kind[0].expand_as(alive), targets.visible[0])
    channels = (*BOX, "vx", "vy", "vz", "track", "class", "visible")
    return ragged(stamps, alive, columns, channels, (*BOX_UNITS, "m/s", "m/s", "m/s", "", "", ""))


def detections(stamps: Stamps, found: Detections) -> RaggedStream:
    """What a detector says: boxes, score and class."""
    columns = (found.box[0], found.score[0], found.kind[0])
    return ragged(stamps, found.present[0], columns, (*BOX, "score", "class"), (*BOX_UNITS, "", ""))


def detections_2d(stamps: Stamps, found: Detections2D) -> RaggedStream:
    """What a detector in the pictures says: rectangles, score and class."""
    columns = (found.sides[0], found.score[0], found.kind[0])
    return ragged(stamps, found.present[0], columns, (*SIDES, "score", "class"), ("px",) * 4 + ("", ""))


def origins(stamps: Stamps, found: Detections | Detections2D) -> RaggedStream:
    """Row by row of detections, the identity of what was detected, -1 where there is nothing. Truth."""
    return ragged(stamps, found.present[0], (found.identity[0].double(),), ("track",), ("",))


def labels_2d(stamps: Stamps, seen: Outlines, kind: Tensor) -> RaggedStream:
    """Outlines in the picture of what shows at least one pixel. Truth."""
    kept = seen.inside[0] & (seen.pixels[0] > 0)
    track = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
    columns = (seen.sides[0], track, kind[0, : kept.shape[1]].expand_as(kept), seen.pixels[0])
    return ragged(stamps, kept, columns, (*SIDES, "track", "class", "pixels"), ("px",) * 4 + ("", "", "px"))


def sightings(stamps: Stamps, seen: Sightings) -> RaggedStream:
    """Landmarks in the picture: column and row, and which it is."""
    visible = seen.visible[0]
    name = torch.arange(visible.shape[1], device=visible.device).expand_as(visible)
    return ragged(stamps, visible, (seen.pixel[0], name), ("u", "v", "landmark"), ("px", "px", ""))


def landmark_map(stamps: Stamps, points: Tensor) -> RaggedStream:
    """Places of all landmarks in the map, at the first stamp. Truth."""
    name = torch.arange(points.shape[1], device=points.device)[None]
    kept = torch.ones_like(name, dtype=torch.bool)
    laid = ragged(stamps[:1], kept, (points[:1], name), ("x", "y", "z", "landmark"), ("m", "m", "m", ""))
    return replace(laid, frame="map")
