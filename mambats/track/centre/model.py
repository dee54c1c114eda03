"""From points to boxes with scores and covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mambats.track.centre.codes import BoxCode, Cells, residual
from mambats.track.centre.head import CentreHead, CentreMaps
from mambats.track.centre.heat import draw_heat, focal_loss, peaks
from mambats.track.centre.lift import ImageLift
from mambats.track.centre.sweeps import SweepBatch
from mambats.track.objects import Objects, splits_of

AROUND = 1  # cells beside a middle's that also learn its box: nine cells a box train faster than one
AGE = 5.0  # of a point, told in fifths of a second: of the size of the other channels
NOTHING = 0.02  # score under which a peak is no box


class TopView(Protocol):
    """What a head stands on: `mambats.encoders.features.PillarEncoder` is one."""

    channels: int
    width: int
    grid: Cells | None

    def bev(self, points: Tensor) -> Tensor:
        """Return the top view (B, width, ny, nx) of points (B, P, channels), NaN where there is none."""
        ...


class Found(NamedTuple):
    """D boxes in each of B sweeps, the highest score first; a score of 0 is padding."""

    boxes: Tensor  # (B, D, 7)
    velocity: Tensor  # (B, D, 2) m/s
    score: Tensor  # (B, D) 0 to 1
    labels: Tensor  # (B, D) int64
    variance: Tensor  # (B, D, 9) of the box's seven numbers and the velocity's two


@dataclass(frozen=True)
class CentreLoss:
    """Weights of the three losses.

    Args:
        boxes: Of the mean absolute error of the codes.
        spread: Of the Gaussian negative log likelihood of the errors, which trains the variances alone.
        velocity: Of velocities within the codes' error. On blocks of points that move at 0 to 4 m/s, 400 steps with 0.3
            left them unlearned (correlation with the truth 0.36, median error 0.77 m/s), with 3 not (0.93, 0.30 m/s).
    """

    boxes: float = 1.0
    spread: float = 0.1
    velocity: float = 2.0


class CentreDetector(nn.Module):
    """Find bodies as peaks of a heat map over the top view.

    Args:
        encoder: Makes the top view of points with one channel more than the sweeps have: their height comes twice (a
            `PillarEncoder` of 6 channels with its grid given).
        classes: Names of the classes.
        inner: Channels of the head.
        levels: How often the head halves the map.
        most: Boxes of a sweep at most.
        window: Cells, odd, within which one peak is kept.
        loss: Weights; None is `CentreLoss()`.
        camera: Lifts pictures to the same top view (an `ImageLift`); None reads points alone.

    Raises:
        ValueError: If the encoder has no grid, or the window is even.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: tuple[str, ...] = ("car", "pedestrian", "cyclist"),
        inner: int = 64,
        levels: int = 2,
        most: int = 64,
        window: int = 3,
        loss: CentreLoss | None = None,
        camera: ImageLift | None = None,
    ) -> None:
        super().__init__()
        made: TopView = encoder  # pyright: ignore[reportAssignmentType]
        if getattr(encoder, "grid", None) is None or not hasattr(encoder, "bev"):
            raise ValueError(
                f"encoder is {type(encoder).__name__}: needed one with a top view `bev` and its grid given."
            )
        if window % 2 == 0 or most < 1:
            raise ValueError(f"window is {window} cells, most {most}: needed an odd number, and at least 1.")
        self.encoder, self.classes, self.inner, self.levels = encoder, tuple(classes), inner, levels
        self.most, self.window, self.loss, self.camera = most, window, loss, camera
        self.head = CentreHead(made.width + (0 if camera is None else camera.width), len(self.classes), inner, levels)
        self.box_code = BoxCode(made.grid)  # pyright: ignore[reportArgumentType]

    def forward(self, points: Tensor, images: Tensor | None = None, projection: Tensor | None = None) -> CentreMaps:
        """Return the maps of points (B, P, C), a fifth channel being their age in seconds, and of pictures.

        Args:
            points: Shape (B, P, C).
            images: Shape (B, N, 3, H, W); None: no camera. A model without a camera does not look at them.
            projection: Shape (B, N, 3, 4), see `SweepBatch`.
        """
        # Height once more, in metres: across a box 8 m high, the encoder's own tells 10 cm by 0.025 only.
        scaled = torch.cat([points[..., :4], points[..., 4:5] * AGE, points[..., 5:], points[..., 2:3]], -1)
        top: Tensor = self.encoder.bev(scaled)  # pyright: ignore[reportCallIssue, reportAssignmentType]
        if self.camera is not None:
            if images is None or projection is None:
                seen = top.new_zeros(len(top), self.camera.width, *top.shape[2:])
            else:
                seen = self.camera(images, projection, self.box_code.cells)
            top = torch.cat([top, seen.to(top)], 1)
        return self.head(top)

    def losses(self, batch: SweepBatch) -> dict[str, Tensor]:
        """Return the losses `heat`, `boxes` and `spread` of a batch, each weighted, as scalars."""
        weights = self.loss or CentreLoss()
        maps = CentreMaps(*(part.float() for part in self(batch.points, batch.images, batch.projection)))
        heat = draw_heat(self.box_code, batch.boxes, batch.labels, len(self.classes))
        cell, mask = self._around(batch)
        said, spread = _at(maps.code, cell), _at(maps.spread, cell)
        boxes, velocity = (part[:, :, None].expand(*cell.shape[:3], -1) for part in (batch.boxes, batch.velocity))
        known = mask[..., None] & torch.ones_like(said, dtype=torch.bool)
        known[..., 8:] &= velocity.isfinite()
        velocity = velocity.nan_to_num(0.0)
        scale = said.new_tensor([1.0] * 8 + [weights.velocity] * 2)
        away = (said - self.box_code.encode(boxes, velocity, cell)).abs() * scale
        count = mask.sum().clamp_min(1)
        found, moving = self.box_code.decode(said.detach(), cell)
        error = residual(found, moving, boxes, velocity)
        nll = 0.5 * (spread + error.square() * (-spread).exp())
        varied = torch.cat([known[..., :7], known[..., 8:]], -1)
        return {
            "heat": focal_loss(maps.heat, heat),
            "boxes": weights.boxes * torch.where(known, away, 0.0).sum() / count,
            "spread": weights.spread * torch.where(varied, nll, 0.0).sum() / count,
        }

    def _around(self, batch: SweepBatch) -> tuple[Tensor, Tensor]:
        """Cells (B, M, 9, 2) of the boxes' middles and beside, and which count (B, M, 9)."""
        cell, inside = self.box_code.cell(batch.boxes)
        step = torch.arange(-AROUND, AROUND + 1, device=cell.device)
        beside = cell[:, :, None] + torch.cartesian_prod(step, step)
        limit = torch.tensor(self.box_code.cells.shape[:2], device=cell.device)
        mask = (inside & (batch.labels >= 0))[..., None] & ((beside >= 0) & (beside < limit)).all(-1)
        return torch.minimum(beside.clamp_min(0), limit - 1), mask

    @torch.no_grad()
    def find(self, points: Tensor, images: Tensor | None = None, projection: Tensor | None = None) -> Found:
        """Return the boxes in points (B, P, C) and pictures; arguments as for `forward`."""
        maps = CentreMaps(*(part.float() for part in self(points, images, projection)))
        score, labels, cell = peaks(maps.heat, self.most, self.window)
        boxes, velocity = self.box_code.decode(_at(maps.code, cell), cell)
        return Found(boxes, velocity, score * (score > NOTHING), labels, _at(maps.spread, cell).exp())


def objects_of(found: Found, stamps: Tensor, classes: tuple[str, ...], least: float = 0.1) -> Objects:
    """Return what was found in the sweeps of one drive as detections, with score, velocity and covariance.

    Args:
        found: In B sweeps.
        stamps: Of the sweeps, shape (B,) int64 nanoseconds, rising.
        classes: Names.
        least: Lowest score that is kept.
    """
    kept = (found.score >= max(least, NOTHING)).cpu()
    boxes, velocity, score, labels, variance = (part.cpu()[kept] for part in found)
    return Objects(
        stamps=stamps.cpu(),
        splits=splits_of(kept.sum(1).tolist()),
        boxes=boxes.double(),
        labels=labels,
        classes=classes,
        score=score.double(),
        velocity=nn.functional.pad(velocity.double(), (0, 1)),
        covariance=torch.diag_embed(variance[:, :7].double()),
    )


def _at(maps: Tensor, cell: Tensor) -> Tensor:
    """Values (B, ..., C) of maps (B, C, ny, nx) at cells (B, ..., 2)."""
    index = (cell[..., 1] * maps.shape[3] + cell[..., 0]).flatten(1)
    found = maps.flatten(2).gather(2, index[:, None].expand(-1, maps.shape[1], -1))
    return found.mT.reshape(*cell.shape[:-1], maps.shape[1])
