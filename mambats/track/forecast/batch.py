"""Pieces of scenes side by side, and the forecasts made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mambats.track.forecast.scene import Scene

NEEDED = 0.45  # seconds a track must be old before its forecasts count: 0.5 s of history at 10 frames a second


class ForecastBatch(NamedTuple):
    """N tracks of S pieces of T frames, with H horizons; float32 but for whole numbers.

    Args:
        mean: States, shape (N, T, 10).
        covariance: Of x, y, vx and vy, shape (N, T, 4, 4).
        seen: Shape (N, T) bool.
        age: Seconds since a track began, shape (N, T).
        elapsed: Seconds since the frame before, shape (N, T).
        labels: Classes, shape (N,) int64.
        piece: Which of the S pieces a track is of, shape (N,) int64, rising.
        truth: Where its body is then, shape (N, T, H, 2), NaN where unknown.
        own: Motion of the sensor, shape (N, T, 4), see `mambats.track.forecast.OwnMotion`.
    """

    mean: Tensor
    covariance: Tensor
    seen: Tensor
    age: Tensor
    elapsed: Tensor
    labels: Tensor
    piece: Tensor
    truth: Tensor
    own: Tensor

    @property
    def asked(self) -> Tensor:
        """Which forecasts count, shape (N, T, H) bool: of tracks old enough, where the truth is known."""
        return (self.seen & (self.age >= NEEDED))[..., None] & self.truth.isfinite().all(-1)

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        return type(self)(*(part.to(device) for part in self))

    def mirrored(self, which: Tensor) -> Self:
        """Return it with left and right swapped in some pieces, `which` (S,) bool."""
        chosen = which[self.piece]
        flip = self.mean.new_tensor([1, -1, 1, 1, 1, 1, -1, 1, -1, 1])
        sides = self.mean.new_tensor([1, -1, 1, -1])
        return self._replace(
            mean=torch.where(chosen[:, None, None], self.mean * flip, self.mean),
            covariance=torch.where(
                chosen[:, None, None, None], self.covariance * sides[:, None] * sides, self.covariance
            ),
            truth=torch.where(chosen[:, None, None, None], self.truth * flip[:2], self.truth),
            own=torch.where(chosen[:, None, None], self.own * self.own.new_tensor([1, -1, -1, 1]), self.own),
        )


class Forecast(NamedTuple):
    """Mixtures of K Gaussians of the place at H horizons.

    Args:
        mean: Shape (..., K, H, 2), metres.
        covariance: Shape (..., K, H, 2, 2).
        logits: Of the modes' probabilities, shape (..., K): one mode holds for all horizons.
    """

    mean: Tensor
    covariance: Tensor
    logits: Tensor

    @property
    def best(self) -> Tensor:
        """Return the mean of the mixture, shape (..., H, 2)."""
        return (self.logits.softmax(-1)[..., None, None] * self.mean).sum(-3)

    def take(self, rows: Tensor) -> Self:
        """Return some of the forecasts, by a mask or index of the leading axes."""
        return type(self)(*(part[rows] for part in self))


def batch_of(pieces: Sequence[Scene], futures: Sequence[Tensor]) -> ForecastBatch:
    """Return pieces of scenes as one batch; shorter ones are padded with frames in which nothing is seen.

    Args:
        pieces: S scenes or parts of them.
        futures: What `Scene.future` said of each, shape (M, T, H, 2).

    Raises:
        ValueError: If there is no piece, or one does not know the sensor's motion (`with_own_motion`).
    """
    if not pieces:
        raise ValueError("there are no pieces: give one scene or more.")
    longest = max(len(one.stamps) for one in pieces)
    parts = list[tuple[Tensor, ...]]()
    for number, (one, future) in enumerate(zip(pieces, futures, strict=True)):
        if one.own is None:
            raise ValueError(f"{one.name}: nobody told how the sensor moves. Give with_own_motion(scene, classes).")
        count, more = len(one.labels), longest - len(one.stamps)
        elapsed = (one.stamps.diff(prepend=one.stamps[:1]).double() / 1e9).expand(count, -1)
        # A piece's first frame has none before it; the second's wait stands for it.
        elapsed = torch.cat([elapsed[:, 1:2], elapsed[:, 1:]], 1) if elapsed.shape[1] > 1 else elapsed + 0.1
        wide = (one.mean, one.covariance, one.seen, one.age, elapsed, one.own.expand(count, -1, -1))
        padded = [torch.nn.functional.pad(p, (0, 0) * (p.ndim - 2) + (0, more)) for p in wide]
        truth = torch.nn.functional.pad(future, (0, 0, 0, 0, 0, more), value=torch.nan)
        parts.append((*padded[:-1], one.labels, torch.full((count,), number), truth, padded[-1]))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return ForecastBatch(*(one.float() if one.is_floating_point() else one for one in columns))
