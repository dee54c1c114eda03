"""Errors of boxes that repeat from sweep to sweep: a state of their own beside each track, never taken for white.

A detector that sees the same side of a body errs alike for a second, and in its size for as long as it sees it. A
filter that takes such errors for white trusts its mean of ten boxes as if they were ten opinions: e' P^-1 e / 7 of
tracks was 6 to 10. Each of a box's seven errors is therefore a part that repeats, a Gauss-Markov process in units of
the deviation that the detection says, and a white rest.

Source: S. F. Schmidt, Application of state-space methods to navigation problems, 1966; A. Gelb, Applied Optimal
    Estimation, 1974, section 3.8 (Gauss-Markov processes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.estimators import BlockNoise, LinearMotion, Noise, RandomWalk, WhiteAcceleration
from mambats.track.association import Matches
from mambats.track.detector import Detections
from mambats.track.existence import Existence
from mambats.track.initiator import Initiator
from mambats.track.motion import Ordered
from mambats.track.tracks import SEEN, Tracks
from mambats.track.updater import Told, Updater
from mambats_kernels.kalman import kalman_update

SIZE = 10  # box and velocity, which come before the repeated errors
SPEED = slice(7, 9)  # vx and vy of a state


class Fading(Noise):
    """What keeps Gauss-Markov processes of variance 1 alive: 1 - exp(-2 t / time).

    Args:
        time: After which each repeats to 1/e, seconds.
    """

    _time: Tensor

    def __init__(self, time: Sequence[float]) -> None:
        super().__init__()
        if not all(0 < one < math.inf for one in time):
            raise ValueError(f"time is {list(time)} s: needed finite numbers above 0.")
        self.time, self.size = time, len(time)
        self.register_buffer("_time", torch.tensor(list(time), dtype=torch.float64), persistent=False)

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k)."""
        added = -torch.expm1(-2 * elapsed[:, None] / self._time.to(elapsed))
        return torch.diag_embed(added if scale is None else added * scale.square())


class RepeatedVelocity(LinearMotion):
    """`ConstantVelocity` with seven repeated errors behind: 17 numbers.

    Args:
        acceleration: As of `ConstantVelocity`.
        walk: As of `ConstantVelocity`.
        time: After which each of the seven errors repeats to 1/e, seconds.

    Raises:
        ValueError: If there are not 3, 4 and 7 numbers above 0.
    """

    def __init__(self, acceleration: Sequence[float], walk: Sequence[float], time: Sequence[float]) -> None:
        if (len(acceleration), len(walk), len(time)) != (3, 4, SEEN):
            raise ValueError(f"there are {len(acceleration)}, {len(walk)} and {len(time)} numbers: needed 3, 4 and 7.")
        rate = [[0.0] * (SIZE + SEEN) for _ in range(SIZE + SEEN)]
        for axis in range(3):
            rate[axis][SEEN + axis] = 1.0
        for k, one in enumerate(time):
            rate[SIZE + k][SIZE + k] = -1.0 / one
        parts = BlockNoise([WhiteAcceleration(acceleration), RandomWalk(walk), Fading(time)])
        super().__init__(rate, Ordered(parts, [0, 1, 2, 6, 7, 8, 9, 3, 4, 5, *range(SIZE, SIZE + SEEN)]))
        self.acceleration, self.walk, self.time = acceleration, walk, time


class RepeatedErrors:
    """How detections err, beside what they say of it.

    Args:
        scale: Factors on the deviations of the seven numbers that detections say.
        share: Of each error's variance that repeats, 0 to under 1; x and y have one in common.

    Raises:
        ValueError: If there are not seven of each, x and y differ, or one is out of range.
    """

    def __init__(self, scale: Sequence[float], share: Sequence[float]) -> None:
        if len(scale) != SEEN or len(share) != SEEN or not all(one > 0 for one in scale):
            raise ValueError(f"scale is {list(scale)}, share {list(share)}: needed seven each, scales above 0.")
        if scale[0] != scale[1] or share[0] != share[1] or not all(0 <= one < 1 for one in share):
            raise ValueError(
                f"scale is {list(scale)}, share {list(share)}: x and y need the same, shares 0 to under 1."
            )
        self.scale, self.share = scale, share
        self._scale = torch.tensor(list(scale), dtype=torch.float64)
        self._root = torch.tensor(list(share), dtype=torch.float64).sqrt()

    def whole(self, noise: Tensor) -> Tensor:
        """Return the covariances of errors, (D, 7, 7), of those that detections say."""
        scale = self._scale.to(noise)
        return scale[:, None] * noise * scale

    def repeated(self, noise: Tensor) -> Tensor:
        """Return what each unit of the repeated errors adds to a box (D, 7, 7), from whole covariances (D, 7, 7)."""
        made = torch.diag_embed(torch.diagonal(noise, dim1=1, dim2=2).sqrt())
        plane = noise[:, :2, :2]
        root = (
            torch.linalg.det(plane).clamp_min(0).sqrt()[:, None, None]
        )  # of 2 by 2: the symmetric root in closed form
        eye = torch.eye(2, dtype=noise.dtype, device=noise.device)
        trace = torch.diagonal(plane, dim1=1, dim2=2).sum(-1)[:, None, None]
        made[:, :2, :2] = (plane + root * eye) / (trace + 2 * root).sqrt()
        return made * self._root.to(noise)


class RepeatedInitiator(Initiator):
    """Begins a track whose box is as far off as its first detection, in the repeated part by the same error.

    Args:
        errors: Of detections.
        speed: Deviations of vx, vy and vz where none is told, m/s.
        told: Deviation of the velocities that detections say, m/s: the track begins with those. None: at rest.
        least: As of `Initiator`.
        doubt: As of `Initiator`.

    Raises:
        ValueError: If a deviation is not above 0.
    """

    def __init__(
        self,
        errors: RepeatedErrors,
        speed: Sequence[float],
        told: float | None = None,
        least: float = -math.inf,
        doubt: float = 0.0,
    ) -> None:
        super().__init__([*speed, *[1.0] * SEEN], least, doubt)
        if told is not None and not told > 0:
            raise ValueError(f"told is {told} m/s: needed above 0, or None.")
        self.errors, self.speed, self.told = errors, speed, told

    def __call__(self, detections: Detections, matches: Matches, identity: int | Tensor) -> Tracks:
        """Return new tracks; see `Initiator`."""
        whole = detections._replace(covariance=self.errors.whole(detections.covariance))
        made = super().__call__(whole, matches, identity)
        if not len(made.identity):
            return made
        mean, covariance = made.mean, made.covariance
        cross = -self.errors.repeated(covariance[:, :SEEN, :SEEN])
        covariance[:, :SEEN, SIZE:], covariance[:, SIZE:, :SEEN] = cross, cross.mT
        if self.told is not None and detections.velocity is not None:
            new = (detections.odds >= self.least).index_fill_(0, matches.detection, False)
            mean[:, SPEED] = detections.velocity[new].to(mean)
            covariance[:, SPEED, SPEED] = self.told**2 * torch.eye(2, dtype=mean.dtype, device=mean.device)
        return made._replace(mean=mean, covariance=covariance)


class RepeatedUpdater(Updater):
    """`Updater` of tracks that remember how their detections err.

    Args:
        errors: Of detections.
        existence: As of `Updater`.
        surprise: As of `Updater`.
        told: Deviation of the velocities that detections say, m/s, as if each were an error of its own: of those that
            repeat for `time` at gaps `dt` take sqrt(2 time / dt) times their own. None: they are not looked at.

    Raises:
        ValueError: As of `Updater`, or if told is not above 0.
    """

    def __init__(
        self, errors: RepeatedErrors, existence: Existence, surprise: float | None = None, told: float | None = None
    ) -> None:
        super().__init__(existence, surprise)
        if told is not None and not told > 0:
            raise ValueError(f"told is {told} m/s: needed above 0, or None.")
        self.errors, self.told = errors, told

    def __call__(
        self, tracks: Tracks, detections: Detections, matches: Matches, elapsed: float | Tensor
    ) -> tuple[Tracks, Told]:
        """Return tracks and what their updates by boxes say; see `Updater`."""
        made, said = super().__call__(tracks, detections, matches, elapsed)
        if self.told is None or detections.velocity is None or not len(matches.track):
            return made, said
        which = matches.of_tracks(len(tracks.identity))
        seen = torch.eye(made.mean.shape[1], dtype=made.mean.dtype, device=made.mean.device)[SPEED]
        noise = self.told**2 * torch.eye(2, dtype=made.mean.dtype, device=made.mean.device)
        velocity = detections.velocity[which.clamp_min(0)].to(made.mean)
        moved = kalman_update(made.mean, made.covariance, velocity, seen, noise, mask=which >= 0)
        return made._replace(mean=moved.mean, covariance=moved.covariance), said

    def measured(self, tracks: Tracks, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return box and repeated error of each state, and the white rest of the noise."""
        whole = self.errors.whole(noise)
        repeated = self.errors.repeated(whole)
        seen, _ = super().measured(tracks, noise)
        return torch.cat([seen[:, :SIZE].expand(len(noise), -1, -1), repeated], -1), whole - repeated @ repeated.mT
