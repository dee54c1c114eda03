"""An inertial unit left alone: windows of a recording with true poses, and how far off dead reckoning gets."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from mambats.preprocess.imu import Preintegration, so3
from mambats.series import Recording

_SMOOTH = 51  # samples of truth at 200 Hz: a quartic over 0.25 s, where a recording has no true velocity
_SECOND = 10**9


class Reckoned(NamedTuple):
    """Pose and velocity at the end of each second, (W, S, ...)."""

    quaternion: Tensor
    velocity: Tensor
    position: Tensor


@dataclass(frozen=True)
class Flight:
    """One recording; everything at the inertial unit's samples.

    Args:
        dt: How long each sample holds, shape (N,), s.
        readings: Shape (N, 6), rad/s and m/s^2.
        quaternion: True attitude half a sample before each stamp, where it begins to hold, shape (N, 4).
        velocity: True, shape (N, 3), m/s.
        position: True, shape (N, 3), m.
        rate: Samples a second.
    """

    dt: Tensor
    readings: Tensor
    quaternion: Tensor
    velocity: Tensor
    position: Tensor
    rate: int

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """Take stream `imu` and truth `pose` (and `velocity` where there is one) of a recording.

        Raises:
            ValueError: If one is missing, or they overlap for less than a second.
        """
        if "imu" not in recording.streams or "pose" not in recording.truth:
            raise ValueError(
                f"recording {recording.name!r} has streams {sorted(recording.streams)} and truth "
                f"{sorted(recording.truth)}: needed imu and true poses."
            )
        imu, pose = recording.streams["imu"], recording.truth["pose"]
        gap = int(np.median(np.diff(imu.stamps)))
        begins = imu.stamps - gap // 2
        inside = (begins >= pose.stamps[0]) & (begins <= pose.stamps[-1])
        if inside.sum() < _SECOND // gap:
            raise ValueError(f"recording {recording.name!r}: imu and true poses overlap for less than a second.")
        begins, readings = begins[inside], torch.as_tensor(imu.values[inside], dtype=torch.float64)
        velocity = recording.truth.get("velocity")
        speeds = _velocity(pose.stamps, pose.values[:, :3]) if velocity is None else velocity.values
        clock = pose.stamps if velocity is None else velocity.stamps
        dt = torch.from_numpy(np.diff(begins, append=begins[-1] + gap) * 1e-9)
        quaternion = torch.nn.functional.normalize(_between(begins, pose.stamps, _unwound(pose.values[:, 3:])), dim=-1)
        position = _between(begins, pose.stamps, pose.values[:, :3])
        return cls(dt, readings, quaternion, _between(begins, clock, speeds), position, round(_SECOND / gap))

    def to(self, device: torch.device | str) -> Self:
        """Return the same flight on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "rate"}
        return replace(self, **moved)

    def samples(self, starts: Tensor, seconds: int) -> Tensor:
        """Return numbers of the samples of windows, (W, S R)."""
        return starts[:, None] + torch.arange(seconds * self.rate, device=starts.device)

    def truth(self, starts: Tensor, seconds: int) -> Reckoned:
        """Return the truth at the end of each second."""
        at = starts[:, None] + self.rate * torch.arange(1, seconds + 1, device=starts.device)
        return Reckoned(self.quaternion[at], self.velocity[at], self.position[at])

    def reckon(self, starts: Tensor, seconds: int, bias: Tensor, gravity: float) -> Reckoned:
        """Integrate from the true state.

        Args:
            starts: First samples, shape (W,).
            seconds: Of each window.
            bias: To take off the readings, (W, S R, 6) or what broadcasts to it.
            gravity: m/s^2.
        """
        at = self.samples(starts, seconds)
        readings = (self.readings[at] - bias).view(-1, self.rate, 6)
        dt = self.dt[at].view(-1, self.rate)
        summed = Preintegration(errors=False)(readings[..., :3].contiguous(), readings[..., 3:].contiguous(), dt)
        parts = [part.unflatten(0, (len(starts), seconds)).unbind(1) for part in summed]
        now = (self.quaternion[starts], self.velocity[starts], self.position[starts])
        made = list[tuple[Tensor, Tensor, Tensor]]()
        for second in zip(*parts, strict=True):
            now = type(summed)(*second).predict(*now, gravity)
            made.append(now)
        return Reckoned(*(torch.stack(column, 1) for column in zip(*made, strict=True)))


def drift(found: Reckoned, truth: Reckoned) -> tuple[Tensor, Tensor, Tensor]:
    """Return errors of rotation (rad), velocity (m/s) and position (m) at the end of each second, (W, S)."""
    turn = so3.product(so3.conjugate(truth.quaternion), found.quaternion)
    angle = 2 * torch.atan2((turn[..., :3].square().sum(-1) + 1e-20).sqrt(), turn[..., 3].abs())
    velocity, position = found.velocity - truth.velocity, found.position - truth.position
    return angle, (velocity.square().sum(-1) + 1e-12).sqrt(), (position.square().sum(-1) + 1e-12).sqrt()


def _velocity(stamps: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Slope of a quartic over 0.25 s around each pose (Savitzky and Golay 1964)."""
    from scipy.signal import savgol_filter

    gap = float(np.median(np.diff(stamps))) * 1e-9
    return np.asarray(savgol_filter(position, _SMOOTH, 4, deriv=1, delta=gap, axis=0))


def _unwound(quaternion: np.ndarray) -> np.ndarray:
    """Signs such that neighbours are near each other."""
    turns = np.where((quaternion[1:] * quaternion[:-1]).sum(-1) < 0, -1.0, 1.0)
    return quaternion * np.concatenate([[1.0], np.cumprod(turns)])[:, None]


def _between(at: np.ndarray, stamps: np.ndarray, values: np.ndarray) -> Tensor:
    """Linear between neighbours."""
    columns = [
        np.interp((at - stamps[0]).astype(np.float64), (stamps - stamps[0]).astype(np.float64), c) for c in values.T
    ]
    return torch.from_numpy(np.stack(columns, -1))
