"""Labels as tracks: a Kalman filter of constant velocity over the path of every labelled body, all bodies at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.track.forecast.scene import GROUND, Scene, ages, bodies_of
from mambats.track.heading import turned_to
from mambats.track.motion import ConstantVelocity
from mambats.track.objects import Objects
from mambats.track.tracks import SEEN
from mambats_kernels.kalman import kalman_predict, kalman_update


class LabelFilter:
    """Filters labelled boxes as a tracker would, with associations known.

    Args:
        motion: Of a box. Of densities 1, 2, 4 and 8 m/s^1.5, 8 had the lowest errors for cars on ten KITTI sequences
            (0.76 and 2.51 m at 1 and 2 s; 1: 0.88 and 2.73), and none was better for pedestrians by a centimetre.
        deviation: Of a label's seven numbers.
        speed: Deviation of a body's first velocity, m/s.
        silence: Seconds after which a body that comes back is a new track.
    """

    def __init__(
        self,
        motion: ConstantVelocity | None = None,
        deviation: Sequence[float] = (0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.05),
        speed: float = 10.0,
        silence: float = 0.55,
    ) -> None:
        self.motion, self.deviation, self.speed, self.silence = motion, deviation, speed, silence
        self._motion = (motion or ConstantVelocity([8.0, 8.0, 0.5], [0.1, 0.05, 0.05, 0.3])).double()

    @torch.no_grad()
    def __call__(self, name: str, truth: Objects, classes: Sequence[str]) -> Scene:
        """Return the scene of a sequence's labels, tracks of the given classes only.

        Raises:
            ValueError: If labels have no identities.
        """
        known = [one for one in classes if one in truth.classes]
        truth = truth.of_class(*known)
        truth = truth.take(~truth.boxes.isnan().any(-1))
        boxes, labels, body = self._pieces(truth, list(classes))
        state, seen = self._filtered(boxes, truth.stamps), ~boxes[..., 0].isnan()
        ground = torch.tensor(GROUND)
        covariance = state.covariance[:, :, ground][..., ground]
        rows = torch.where(seen, body[:, None], -1)
        return Scene(name, truth.stamps, labels, seen, torch.where(seen[..., None], state.mean, 0.0),
                     covariance, ages(seen, truth.stamps), rows, bodies_of(truth).paths)  # fmt: skip

    def _pieces(self, truth: Objects, classes: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (M, T, 7) of uninterrupted pieces of paths, NaN elsewhere, their classes and bodies (M,)."""
        bodies, frame, identity = bodies_of(truth), truth.frames, truth.identity
        if identity is None:  # `bodies_of` has said so
            raise ValueError("labels have no identities: give tracks, not detections.")
        boxes, labels, body = list[Tensor](), list[int](), list[int]()
        for number, one in enumerate(bodies.identity.tolist()):
            rows = torch.nonzero(identity == one)[:, 0]
            rows = rows[frame[rows].argsort()]
            gap = truth.stamps[frame[rows]].diff() > self.silence * 1e9
            for piece in torch.tensor_split(rows, (torch.nonzero(gap)[:, 0] + 1).tolist()):
                made = torch.full((len(truth), 7), torch.nan, dtype=torch.float64)
                made[frame[piece]] = truth.boxes[piece].double()
                boxes.append(made)
                labels.append(classes.index(truth.classes[int(truth.labels[piece[0]])]))
                body.append(number)
        empty = torch.zeros(0, len(truth), 7, dtype=torch.float64)
        return torch.stack(boxes) if boxes else empty, torch.tensor(labels).long(), torch.tensor(body).long()

    def _filtered(self, boxes: Tensor, stamps: Tensor) -> Gaussian:
        """Return states of boxes (M, T, 7): means (M, T, 10) and covariances (M, T, 10, 10)."""
        count, frames = boxes.shape[:2]
        noise = torch.tensor(self.deviation).double().square().diag()
        start = torch.block_diag(noise, self.speed**2 * torch.eye(3, dtype=torch.float64))
        mean, covariance = boxes.new_zeros(count, 10), start.repeat(count, 1, 1)
        means, covariances = boxes.new_zeros(count, frames, 10), start.repeat(count, frames, 1, 1)
        begun, wait = torch.zeros(count, dtype=torch.bool), stamps.diff(prepend=stamps[:1]).double() / 1e9
        for f in range(frames):
            there = ~boxes[:, f, 0].isnan()
            move, known = there | begun, there & begun
            if f and bool(move.any()):
                time = wait[f : f + 1]
                matrix, spread = self._motion.jacobian(mean[:1], time)[0], self._motion.noise(time)[0]
                mean, covariance = kalman_predict(mean, covariance, matrix, spread, mask=begun)
            made = kalman_update(mean, covariance, _near(boxes[:, f], mean), torch.eye(SEEN, 10).double(), noise,
                                 mask=known)  # fmt: skip
            new = there & ~begun
            first = torch.nn.functional.pad(boxes[:, f].nan_to_num(), (0, 3))
            mean = torch.where(new[:, None], first, made.mean)
            covariance = torch.where(new[:, None, None], start, made.covariance)
            means[:, f], covariances[:, f], begun = mean, covariance, move
        return Gaussian(means, covariances)


def _near(boxes: Tensor, mean: Tensor) -> Tensor:
    """Boxes whose yaw lies next to that of states."""
    yaw = turned_to(boxes[:, 6], mean[:, 6])
    return torch.cat([boxes[:, :6], yaw[:, None]], -1)
