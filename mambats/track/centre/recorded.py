"""Sweeps of recordings as a table: real LiDARs, with labels where there are some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import RaggedStream, Recording
from mambats.track.centre.recorded_picture import RecordedPicture
from mambats.track.centre.sweeps import SweepTable

BOX = ("x", "y", "z", "l", "w", "h", "yaw")


@dataclass(frozen=True)
class Seat:
    """How a LiDAR sits on its body, as against the one that a model was trained with.

    Args:
        turn: Of the sensor's x axis from straight ahead, rad, to the left: nuScenes's LiDAR looks to the right, -pi/2.
        bright: Intensity that counts as 1: 1 for KITTI, 255 for nuScenes.
        raised: Metres to lift everything by, where the sensor sits lower.
        near: Metres around the sensor, along the ground, in which points are of its own body and left out.

    Raises:
        DataError: If `bright` is not above 0, or `near` below 0.
    """

    turn: float = 0.0
    bright: float = 1.0
    raised: float = 0.0
    near: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.bright > 0 and self.near >= 0):
            raise DataError(f"bright is {self.bright}, near {self.near} m: needed above 0, and 0 or more.")

    def matrix(self) -> Tensor:
        """Return what takes points of the sensor to axes whose x points straight ahead, (4, 4) float64."""
        made = torch.eye(4, dtype=torch.float64)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        made[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
        made[2, 3] = self.raised
        return made


class RecordedSweeps:
    """Sweeps of a LiDAR and boxes around it; no poses are read, so no sweep is laid on another.

    Args:
        source: Recordings with a ragged stream of points (x y z, and intensity where there is one) and, if there are
            labels, one of boxes (x y z of the middle, l w h yaw, class; vx vy where known) in the same frame, z up.
        names: Words of the labels and the class that each is, `{"Car": "car"}`; others are left out.
        classes: Names, in the order of the model.
        lidar: Stream of points.
        labels: Stream of boxes; a recording without it has none.
        seat: How the sensor sits and how bright it says things are; None is `Seat()`.
        picture: Which pictures come with the sweeps; None: none.

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
        seat: Seat | None = None,
        picture: RecordedPicture | None = None,
    ) -> None:
        self.source, self.names, self.classes = source, dict(names), tuple(classes)
        self.lidar, self.labels, self.seat, self.picture = lidar, labels, seat or Seat(), picture
        if unknown := sorted(set(self.names.values()) - set(self.classes)):
            raise DataError(f"names lead to {unknown}: classes are {', '.join(self.classes)}.")

    @property
    def name(self) -> str:
        """Name of the source."""
        return str(getattr(self.source, "name", None) or type(self.source).__name__)

    def sweeps(self) -> SweepTable:
        """Return all sweeps, each a drive of its own."""
        recordings = self.source.recordings()
        found = [one for recording in recordings for one in self._of(recording)]
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
        table = SweepTable(laid, pose, torch.tensor(stamps), torch.arange(count), held, velocity, labels, identity)
        if self.picture is None:
            return table
        pairs = [(one, stamp) for one in recordings for stamp in self._stamps(one)]
        seen = [self._seen(self.picture, one, stamp) for one, stamp in pairs]
        images, projection = (torch.stack(part)[:, None] for part in zip(*seen, strict=True))
        return replace(table, images=images, projection=projection)

    def _stamps(self, recording: Recording) -> list[int]:
        """Of the sweeps of a recording."""
        return recording.ragged[self.lidar].stamps.tolist() if self.lidar in recording.ragged else []

    def _seen(self, picture: RecordedPicture, recording: Recording, stamp: int) -> tuple[Tensor, Tensor]:
        """Picture and projection of the stamp nearest to one, from the frame in which x points straight ahead."""
        image, projection = picture.taken(recording, recording.ragged[self.lidar].frame, stamp)
        return image, (projection @ torch.linalg.inv(self.seat.matrix())).float()

    def _of(self, recording: Recording) -> list[tuple[Tensor, Tensor, int]]:
        """Points (R, 4), boxes with velocity and class (n, 10), and stamp of every sweep."""
        stream = recording.ragged.get(self.lidar)
        if stream is None:
            return []
        boxes = recording.ragged.get(self.labels)
        made = list[tuple[Tensor, Tensor, int]]()
        for row, stamp in enumerate(stream.stamps.tolist()):
            place = self._turned(_columns(stream, row, ("x", "y", "z"), recording.name))
            place[:, 2] += self.seat.raised
            light = _columns(stream, row, ("intensity",), recording.name) if "intensity" in stream.channels else None
            light = torch.zeros(len(place), 1) if light is None else (light / self.seat.bright).clamp(0, 1)
            other = place[:, :2].norm(dim=1) >= self.seat.near
            made.append((torch.cat([place, light], 1).float()[other], self._boxes(boxes, stamp, recording.name), stamp))
        return made

    def _boxes(self, stream: RaggedStream | None, stamp: int, name: str) -> Tensor:
        """Boxes of the stamp nearest to one, with velocity and class, (n, 10)."""
        if stream is None or not len(stream):
            return torch.zeros(0, 10, dtype=torch.float64)
        row = int(np.abs(stream.stamps - stamp).argmin())
        boxes, words = _columns(stream, row, BOX, name), stream.labels.get("class", ())
        code = _columns(stream, row, ("class",), name)[:, 0].long().tolist()
        kind = [self.names.get(words[one] if one < len(words) else "", "") for one in code]
        boxes = torch.cat([self._turned(boxes[:, :3]), boxes[:, 3:6], boxes[:, 6:] + self.seat.turn], 1)
        boxes[:, 2] += self.seat.raised
        known = {"vx", "vy"} <= set(stream.channels)
        velocity = _columns(stream, row, ("vx", "vy"), name) if known else torch.full((len(boxes), 2), torch.nan)
        label = torch.tensor([self.classes.index(one) if one else -1 for one in kind], dtype=torch.float64)
        rows = torch.cat([boxes, self._turned(velocity.double()), label[:, None]], 1)
        return rows[label >= 0]

    def _turned(self, vectors: Tensor) -> Tensor:
        """Vectors (n, 2 or 3) of the sensor in axes whose x points straight ahead."""
        cos, sin = math.cos(self.seat.turn), math.sin(self.seat.turn)
        x, y = vectors[:, 0], vectors[:, 1]
        return torch.cat([torch.stack([cos * x - sin * y, sin * x + cos * y], 1), vectors[:, 2:]], 1)


def _columns(stream: RaggedStream, row: int, names: Sequence[str], recording: str) -> Tensor:
    """Some columns (n, len(names)) float64 of one table."""
    if lacking := [name for name in names if name not in stream.channels]:
        raise DataError(f"{recording}: a stream has no {', '.join(lacking)}, it has {', '.join(stream.channels)}.")
    table = stream.table(row)[:, [stream.channels.index(name) for name in names]]
    return torch.from_numpy(np.ascontiguousarray(table, dtype=np.float64))
