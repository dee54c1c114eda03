"""Sweeps of recordings as a table: real LiDARs, with labels where there are some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import RaggedStream, Recording
from mambats.track.centre.sweeps import SweepTable

BOX = ("x", "y", "z", "l", "w", "h", "yaw")


class RecordedSweeps:
    """Sweeps of a LiDAR and boxes around it; no poses are read, so no sweep is laid on another.

    Args:
        source: Recordings with a ragged stream of points (x y z, and intensity where there is one) and, if there are
            labels, one of boxes (x y z of the middle, l w h yaw, class; vx vy where known) in the same frame, z up.
        names: Words of the labels and the class that each is, `{"Car": "car"}`; others are left out.
        classes: Names, in the order of the model.
        lidar: Stream of points.
        labels: Stream of boxes; a recording without it has none.
        turn: Of the sensor's x axis from straight ahead, rad, to the left: nuScenes's LiDAR looks to the right, -pi/2.
        bright: Intensity that counts as 1: 1 for KITTI, 255 for nuScenes.
        raised: Metres to lift everything by, where the sensor sits lower than what a model was trained with.

    Raises:
        DataError: From `sweeps`, if there is no sweep, or points or labels lack a channel.
    """

    def __init__(
        self,
        source: Source,
        names: Mapping[str, str],
        classes: Sequence[str] = ("car", "pedestrian", "cyclist"),
        lidar: str = "lidar",
        labels: str = "labels",
        turn: float = 0.0,
        bright: float = 1.0,
        raised: float = 0.0,
    ) -> None:
        self.source, self.names, self.classes = source, dict(names), tuple(classes)
        self.lidar, self.labels, self.turn, self.bright, self.raised = lidar, labels, turn, bright, raised
        if unknown := sorted(set(self.names.values()) - set(self.classes)):
            raise DataError(f"names lead to {unknown}: classes are {', '.join(self.classes)}.")
        if not bright > 0:
            raise DataError(f"bright is {bright}: needed above 0.")

    @property
    def name(self) -> str:
        """Name of the source."""
        return str(getattr(self.source, "name", None) or type(self.source).__name__)

    def sweeps(self) -> SweepTable:
        """Return all sweeps, each a drive of its own."""
        found = [one for recording in self.source.recordings() for one in self._of(recording)]
        if not found:
            raise DataError(f"{self.name}: has no sweep named {self.lidar!r}.")
        points, boxes, stamps = zip(*found, strict=True)
        count, most = len(found), max(len(one) for one in boxes)
        held = torch.zeros(count, most, 7)
        velocity, labels = torch.full((count, most, 2), torch.nan), torch.full((count, most), -1)
        for row, one in enumerate(boxes):
            held[row, : len(one)], velocity[row, : len(one)] = one[:, :7].float(), one[:, 7:9].float()
            labels[row, : len(one)] = one[:, 9].long()
        laid = torch.nn.utils.rnn.pad_sequence(list(points), batch_first=True, padding_value=torch.nan)
        pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
        identity = torch.arange(most).expand(count, most)
        return SweepTable(laid, pose, torch.tensor(stamps), torch.arange(count), held, velocity, labels, identity)

    def _of(self, recording: Recording) -> list[tuple[Tensor, Tensor, int]]:
        """Points (R, 4), boxes with velocity and class (n, 10), and stamp of every sweep."""
        stream = recording.ragged.get(self.lidar)
        if stream is None:
            return []
        boxes = recording.ragged.get(self.labels)
        made = list[tuple[Tensor, Tensor, int]]()
        for row, stamp in enumerate(stream.stamps.tolist()):
            place = self._turned(_columns(stream, row, ("x", "y", "z"), recording.name))
            place[:, 2] += self.raised
            light = _columns(stream, row, ("intensity",), recording.name) if "intensity" in stream.channels else None
            light = torch.zeros(len(place), 1) if light is None else (light / self.bright).clamp(0, 1)
            made.append((torch.cat([place, light], 1).float(), self._boxes(boxes, stamp, recording.name), stamp))
        return made

    def _boxes(self, stream: RaggedStream | None, stamp: int, name: str) -> Tensor:
        """Boxes of the stamp nearest to one, with velocity and class, (n, 10)."""
        if stream is None or not len(stream):
            return torch.zeros(0, 10, dtype=torch.float64)
        row = int(np.abs(stream.stamps - stamp).argmin())
        boxes, words = _columns(stream, row, BOX, name), stream.labels.get("class", ())
        code = _columns(stream, row, ("class",), name)[:, 0].long().tolist()
        kind = [self.names.get(words[one] if one < len(words) else "", "") for one in code]
        boxes = torch.cat([self._turned(boxes[:, :3]), boxes[:, 3:6], boxes[:, 6:] + self.turn], 1)
        boxes[:, 2] += self.raised
        known = {"vx", "vy"} <= set(stream.channels)
        velocity = _columns(stream, row, ("vx", "vy"), name) if known else torch.full((len(boxes), 2), torch.nan)
        label = torch.tensor([self.classes.index(one) if one else -1 for one in kind], dtype=torch.float64)
        rows = torch.cat([boxes, self._turned(velocity.double()), label[:, None]], 1)
        return rows[label >= 0]

    def _turned(self, vectors: Tensor) -> Tensor:
        """Vectors (n, 2 or 3) of the sensor in axes whose x points straight ahead."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x, y = vectors[:, 0], vectors[:, 1]
        return torch.cat([torch.stack([cos * x - sin * y, sin * x + cos * y], 1), vectors[:, 2:]], 1)


def _columns(stream: RaggedStream, row: int, names: Sequence[str], recording: str) -> Tensor:
    """Some columns (n, len(names)) float64 of one table."""
    if lacking := [name for name in names if name not in stream.channels]:
        raise DataError(f"{recording}: a stream has no {', '.join(lacking)}, it has {', '.join(stream.channels)}.")
    table = stream.table(row)[:, [stream.channels.index(name) for name in names]]
    return torch.from_numpy(np.ascontiguousarray(table, dtype=np.float64))
