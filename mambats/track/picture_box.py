"""Boxes in a camera's picture: what it draws of bodies in space, what it saw, and which of both are alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators import ConstantNoise, Sensor
from mambats.track.assignment import Greedy
from mambats.track.objects import Objects
from mambats.track.projection import Picture, project
from mambats.track.tracks import SEEN

# Metres and radians to either side where slopes of the projection are taken.
_STEP = 1e-4


class PictureSensor(Sensor):
    """The box in the picture of a body whose state begins with a box in space: left, top, right, bottom in pixels.

    An edge at the picture's rim does not move with the body, so its row of the Jacobian is 0: it tells nothing.

    Args:
        picture: What the camera draws.
        deviation: Standard deviation of an edge in pixels, for `Filter`; `PictureUpdater` has one that grows with size.
    """

    size = 4

    def __init__(self, picture: Picture, deviation: float = 3.0) -> None:
        super().__init__()
        self.picture, self.deviation = picture, deviation
        self.noise = ConstantNoise([deviation] * 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return the boxes (B, 4) of states (B, n); NaN where a body is not in the picture."""
        return project(x[:, :SEEN], self.picture)

    def jacobian(self, x: Tensor) -> Tensor:
        """Return d forward / d x, shape (B, 4, n), by central differences of the seven numbers of the box."""
        steps = torch.eye(SEEN, x.shape[1], dtype=x.dtype) * _STEP
        moved = torch.stack([x[:, None] + steps, x[:, None] - steps])
        ahead, behind = self(moved.reshape(-1, x.shape[1])).reshape(2, len(x), SEEN, 4)
        slopes = (ahead - behind).mT / (2 * _STEP)
        return torch.nn.functional.pad(slopes, (0, x.shape[1] - SEEN))


class Pictured(NamedTuple):
    """P boxes in the picture at one moment that nothing in space belongs to.

    Args:
        pixels: Left, top, right, bottom, shape (P, 4).
        score: Of the camera's detector, shape (P,).
        row: Where each stands among the sequence's detections, shape (P,) int64.
    """

    pixels: Tensor
    score: Tensor
    row: Tensor

    @staticmethod
    def of(objects: Objects, frame: int) -> Pictured:
        """Return the rows of a frame that have pixels and a score, and no place in space.

        Raises:
            ValueError: If objects have no pixels or no scores.
        """
        if objects.pixels is None or objects.score is None:
            raise ValueError("objects have no pixels or no scores: both are needed to follow them in the picture.")
        rows = torch.arange(int(objects.splits[frame]), int(objects.splits[frame + 1]))
        rows = rows[objects.boxes[rows].isnan().all(-1) & objects.pixels[rows].isfinite().all(-1)]
        return Pictured(objects.pixels[rows], objects.score[rows], rows)


def there(odds: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return log odds that a body is there and that its box is in its place, to a quarter of its length, shape (T,).

    A camera is sure of a body and unsure of its distance: what it alone sees ranks behind what is seen in space.

    Args:
        odds: Log odds that there is a body at all, shape (T,).
        mean: Of the states, shape (T, n).
        covariance: Shape (T, n, n).
    """
    deviation = torch.linalg.eigvalsh(covariance[:, :2, :2])[:, -1].sqrt()
    inside = torch.erf(mean[:, 3].clamp_min(0.1) / 4 / (2**0.5 * deviation))
    return torch.logit(odds.sigmoid() * inside, eps=1e-9)


def most_alike(overlap: Tensor, can: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns of the pairs that are chosen of those that can be, the most alike first."""
    rows, columns = can.nonzero(as_tuple=True)
    chosen = Greedy()((rows, columns), -overlap[rows, columns])
    return rows[chosen], columns[chosen]
