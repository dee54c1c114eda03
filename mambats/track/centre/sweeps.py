"""Sweeps of points with the boxes in them: all of a data set, and a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

#: Channels of a batch's points: metres, 0 to 1, seconds before the newest sweep.
CHANNELS = ("x", "y", "z", "intensity", "age")


class SweepBatch(NamedTuple):
    """B sweeps with what was measured shortly before; all in the sensor's frame at the newest."""

    points: Tensor  # (B, P, 5) as `CHANNELS`; NaN where there is none
    boxes: Tensor  # (B, M, 7) x y z l w h yaw, m and rad
    velocity: Tensor  # (B, M, 2) m/s over the ground; NaN where it is not known
    labels: Tensor  # (B, M) int64: class, -1 where there is no box
    images: Tensor | None = None  # (B, N, 3, H, W) uint8 of N cameras at the newest sweep
    projection: Tensor | None = None  # (B, N, 3, 4) from the frame of the points to pixels; NaN: that camera is off

    def to(self, device: torch.device | str) -> SweepBatch:
        """Return the batch on another device."""
        return SweepBatch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]

    def take(self, rows: slice) -> SweepBatch:
        """Return some of the sweeps."""
        return SweepBatch(*(None if part is None else part[rows] for part in self))  # pyright: ignore[reportArgumentType]

    def without(self, lidar: Tensor, camera: Tensor) -> SweepBatch:
        """Return the batch with the points, and the pictures, missing in the sweeps where a mask (B,) is True."""
        points = self.points.masked_fill(lidar[:, None, None], torch.nan)
        seen = self.projection
        seen = None if seen is None else seen.masked_fill(camera[:, None, None, None], torch.nan)
        return self._replace(points=points, projection=seen)

    def thinned(self, share: Tensor, generator: torch.Generator | None = None) -> SweepBatch:
        """Return the batch with a share (B,) of the points of each sweep, drawn at random."""
        lot = torch.rand(self.points.shape[:2], generator=generator, device=self.points.device)
        return self._replace(points=self.points.masked_fill((lot >= share[:, None])[..., None], torch.nan))

    def mirrored(self, which: Tensor) -> SweepBatch:
        """Return the batch with left and right swapped in the sweeps where `which` (B,) is True."""
        sign = torch.where(which, -1.0, 1.0)[:, None]
        points, boxes, velocity = self.points.clone(), self.boxes.clone(), self.velocity.clone()
        points[..., 1] *= sign
        boxes[..., 1] *= sign
        boxes[..., 6] *= sign
        velocity[..., 1] *= sign
        if self.images is None or self.projection is None:
            return SweepBatch(points, boxes, velocity, self.labels)
        images = torch.where(which[:, None, None, None, None], self.images.flip(-1), self.images)
        turned = self.projection.clone()
        turned[..., 0, :] = (self.images.shape[-1] - 1) * turned[..., 2, :] - turned[..., 0, :]
        turned[..., 1] *= -1
        seen = torch.where(which[:, None, None, None], turned, self.projection)
        return SweepBatch(points, boxes, velocity, self.labels, images, seen)


@dataclass(frozen=True)
class SweepTable:
    """S sweeps, drive behind drive, in order of time.

    Args:
        points: x y z in metres in the sensor's frame at the sweep's time, and intensity 0 to 1: shape (S, R, 4), NaN
            where nothing came back.
        pose: Of the sensor in a fixed frame, shape (S, 4, 4) float64.
        stamps: Shape (S,) int64 nanoseconds, rising within a drive.
        drive: Shape (S,) int64, never falling.
        boxes: Shape (S, M, 7), as of `Objects`.
        velocity: Shape (S, M, 2), m/s over the ground in the sensor's axes; NaN where it is not known.
        labels: Shape (S, M) int64, -1 where there is no box.
        identity: Shape (S, M) int64, one a body within its drive.
        images: Of N cameras at the sweep's time, shape (S, N, 3, H, W) uint8; None where there is no camera.
        projection: From the sensor's frame to their pixels, shape (S, N, 3, 4) float32; pixel 0 is the middle of the
            first, as OpenCV has it.

    Raises:
        ValueError: If shapes do not fit.
    """

    points: Tensor
    pose: Tensor
    stamps: Tensor
    drive: Tensor
    boxes: Tensor
    velocity: Tensor
    labels: Tensor
    identity: Tensor
    images: Tensor | None = None
    projection: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        count, most = len(self.points), self.labels.shape[-1]
        shapes = {"pose": (count, 4, 4), "stamps": (count,), "drive": (count,), "boxes": (count, most, 7)}
        shapes |= {"velocity": (count, most, 2), "labels": (count, most), "identity": (count, most)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}: needed {shape}.")
        if self.points.ndim != 3 or self.points.shape[2] != 4:
            raise ValueError(f"points have shape {tuple(self.points.shape)}: needed (S, R, 4), x y z intensity.")
        if (self.images is None) != (self.projection is None):
            raise ValueError("there are images or a projection, not both: needed both, or neither.")
        if self.images is not None and self.projection is not None:
            cameras = self.images.shape[1:2]
            if self.images.ndim != 5 or len(self.images) != count or self.projection.shape != (count, *cameras, 3, 4):
                raise ValueError(
                    f"images have shape {tuple(self.images.shape)}, projection {tuple(self.projection.shape)}: needed "
                    f"({count}, N, 3, H, W) and ({count}, N, 3, 4)."
                )

    def __len__(self) -> int:
        """Return how many sweeps there are."""
        return len(self.points)

    def take(self, rows: Tensor) -> Self:
        """Return some of the sweeps."""
        return replace(self, **{name: part[rows] for name, part in self.parts().items()})

    def to(self, device: torch.device | str) -> Self:
        """Return the same sweeps on another device."""
        return replace(self, **{name: part.to(device) for name, part in self.parts().items()})

    def parts(self) -> dict[str, Tensor]:
        """Return the tensors that are there, by name."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: part for name, part in every.items() if part is not None}

    @classmethod
    def joined(cls, tables: Sequence[SweepTable]) -> SweepTable:
        """Return tables behind one another, of the same sizes and sensors; drives keep their numbers."""
        return cls(**{name: torch.cat([table.parts()[name] for table in tables]) for name in tables[0].parts()})

    def batch(self, rows: Tensor, before: Sequence[int] = (0,)) -> SweepBatch:
        """Lay sweeps over earlier ones of the same drive, moved with the sensor's pose.

        Args:
            rows: Which sweeps, shape (B,) int64.
            before: How many sweeps before each to lay on it; 0 is itself. What lies before the drive is left out.
        """
        rows = rows.to(self.drive.device)
        home = torch.linalg.inv(self.pose[rows])
        parts = [self._seen(rows, home, count) for count in before]
        rest = (self.boxes, self.velocity, self.labels, self.images, self.projection)
        picked = (None if part is None else part[rows] for part in rest)
        return SweepBatch(torch.cat(parts, 1), *picked)  # pyright: ignore[reportArgumentType]

    def _seen(self, rows: Tensor, home: Tensor, count: int) -> Tensor:
        """Points (B, R, 5) of the sweeps `count` before, in the frames of `rows`."""
        earlier = (rows - count).clamp_min(0)
        same = (rows >= count) & (self.drive[earlier] == self.drive[rows])
        points = self.points[earlier].float()
        if count:
            motion = (home @ self.pose[earlier]).float()
            moved = points[..., :3] @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
            points = torch.cat([moved, points[..., 3:]], -1)
        age = (self.stamps[rows] - self.stamps[earlier]).float()[:, None, None].expand(*points.shape[:2], 1) * 1e-9
        return torch.where(same[:, None, None], torch.cat([points, age], -1), torch.nan)

    def save(self, path: Path | str) -> None:
        """Write the table to an .npz file, points as float16 (6 mm at 20 m)."""
        arrays = {name: part.cpu().numpy() for name, part in self.parts().items()}
        arrays["points"] = arrays["points"].astype(np.float16)
        np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]

    @classmethod
    def load(cls, path: Path | str) -> SweepTable:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            names = [field.name for field in fields(cls) if field.name in stored]
            return cls(**{name: torch.from_numpy(stored[name]) for name in names})


class SweepSource(Protocol):
    """Where sweeps with boxes come from: a simulator, recordings."""

    name: str
    classes: tuple[str, ...]

    def sweeps(self) -> SweepTable:
        """Return all sweeps, the same for the same arguments."""
        ...
