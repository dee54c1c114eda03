"""What an inertial filter knows: attitude, motion, biases and how sure it is of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.protocols import Innovation

#: Places of the error's parts; extras follow from `EXTRA` on in the order of the filter.
ROTATION, VELOCITY, POSITION = slice(0, 3), slice(3, 6), slice(6, 9)
GYRO_BIAS, ACCELEROMETER_BIAS, BIAS = slice(9, 12), slice(12, 15), slice(9, 15)
EXTRA = 15


class NavigationState(NamedTuple):
    """State of B bodies; the covariance is of the error rotation (body frame, R Exp(e)), velocity, position (world),
    gyroscope bias, accelerometer bias, extras.
    """  # noqa: D205

    quaternion: Tensor  #: (B, 4) x y z w, body to world
    velocity: Tensor  #: (B, 3) in the world, m/s
    position: Tensor  #: (B, 3) in the world, m
    bias: Tensor  #: (B, 6) gyroscope rad/s, accelerometer m/s^2
    extra: Tensor  #: (B, e)
    covariance: Tensor  #: (B, n, n), n = 15 + e
    reading: Tensor  #: (B, 6) of the inertial unit, held until the next one
    rejected: Tensor  #: (B, S) measurements gated out in a row, by stream


class NavigationTrack(NamedTuple):
    """States of B bodies at K moments, each behind the measurements of its moment.

    Moments of a body rise; where `mask` is False there was none (rows are as long as the longest), and the entry
    repeats the one before.
    """

    stamps: Tensor  #: (B, K) int64 nanoseconds since the window's start
    mask: Tensor  #: (B, K) bool
    quaternion: Tensor  #: (B, K, 4)
    velocity: Tensor  #: (B, K, 3)
    position: Tensor  #: (B, K, 3)
    bias: Tensor  #: (B, K, 6)
    extra: Tensor  #: (B, K, e)
    covariance: Tensor  #: (B, K, n, n)
    innovations: Mapping[str, Innovation]  #: by stream, each with a time axis (B, K, ...); `used` is False where none

    def at(self, stamps: Tensor) -> Tensor:
        """Return the last moment not later than each of stamps (B, Q) int64, shape (B, Q); -1 where there is none."""
        # Moments where `mask` is False lie in between and at the end: the state was moved on to them all the same.
        return torch.searchsorted(self.stamps.contiguous(), stamps.contiguous(), right=True) - 1


def needs_floats(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape or of no floating dtype."""
    if tuple(value.shape) != shape or not value.is_floating_point():
        raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}: need floats of shape {shape}.")


def keep(chosen: Tensor, new: NavigationState, old: NavigationState) -> NavigationState:
    """Return the new state in rows where `chosen` (B,) holds and the old one, to the bit, elsewhere."""
    pairs = zip(new, old, strict=True)
    return NavigationState(*(torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


#: Largest standard deviations: rad, m/s, m, rad/s, m/s^2, extras. Beyond them a linear error says nothing, and an hour
#: without a reading would leave float32 no digits for the rest.
_BOUNDS = (2.0, 1e3, 1e6, 1.0, 10.0, 1e3)


@lru_cache(maxsize=16)
def _bounds(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Largest variances, (n,)."""
    bounds = torch.tensor([bound for bound in _BOUNDS[:5] for _ in range(3)], dtype=dtype, device=device)
    return nn.functional.pad(bounds, (0, size - EXTRA), value=_BOUNDS[5]).square()


def settled(covariance: Tensor) -> Tensor:
    """Return a covariance (B, n, n) made symmetric, within bounds, and positive definite in spite of rounding.

    Rounding of F P F' is of some units in the last place of the diagonal: as much is added to it.
    """
    made = 0.5 * (covariance + covariance.mT)
    diagonal = made.diagonal(dim1=-2, dim2=-1)
    bounds = _bounds(made.shape[-1], made.dtype, made.device)
    shrink = (bounds / diagonal.clamp_min(torch.finfo(made.dtype).tiny)).clamp_max(1.0).sqrt()
    made = shrink[:, :, None] * made * shrink[:, None, :]
    return made + torch.diag_embed(16 * torch.finfo(made.dtype).eps * made.diagonal(dim1=-2, dim2=-1))
