"""Attitude from an inertial sensor, with or without a magnetometer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.gyro_bias import BiasEstimator, BiasState, GyroBias
from mambats.estimators.low_pass import LowPass, LowPassState
from mambats.preprocess.imu import so3


class AttitudeState(NamedTuple):
    """What the estimator carries, batch first."""

    rows: int  #: samples seen
    drifting: Tensor  #: (B, 4) sensor to a frame that drifts as the gyroscope does
    level: Tensor  #: (B, 4) that frame to one whose z points up
    up: Tensor  #: (B, 3) where up is in the drifting frame
    north: Tensor  #: (B, 2) weighted sum of magnetic directions, east and north
    force: LowPassState
    bias: BiasState


class Attitudes(NamedTuple):
    """Attitude of every sample."""

    quaternion: Tensor  #: (B, T, 4) sensor to world (z up; y magnetic north, or any heading without a magnetometer)
    bias: Tensor  #: (B, T, 3) of the gyroscope, rad/s: what was taken off this sample
    resting: Tensor  #: (B, T) bool


class Attitude:
    """Estimate attitude online: gyroscope for what is fast, gravity for what is up, magnetometer for what is north.

    Rates are integrated to a frame that drifts slowly. Seen from there, gravity stands nearly still and what the sensor
    is accelerated by averages out, so specific force is low-passed there, and the least turn that brings it upright is
    the inclination. How fast this turn has to change tells the bias of the gyroscope. The bias is renewed once a block
    (0.25 s) and held in between, so that samples of a block are computed side by side.

    Args:
        rate: Samples a second. Resample a stream of another clock first.
        tau: Time constant of the low-pass of specific force, seconds: longer trusts the gyroscope more.
        magnetic_tau: Time constant of the heading from the magnetometer, seconds.
        bias: What is known of the gyroscope's bias.
        block: Seconds between updates of the bias, a twelfth of `tau`: from 0.02 to 0.5 s no inclination of the two
            BROAD trials changes by 0.0002 degrees, and shorter blocks cost more calls.

    Raises:
        ValueError: If a number is not above 0.

    Source: Laidig and Seel, VQF: Highly Accurate IMU Orientation Estimation with Bias Estimation and Magnetic
        Disturbance Rejection, Information Fusion 91, 2023. Written from the paper with its published defaults; unlike
        there, the bias is updated by blocks, and the heading is a mean of directions without rejection of disturbances.
    """

    def __init__(
        self,
        rate: float,
        tau: float = 3.0,
        magnetic_tau: float = 9.0,
        bias: GyroBias | None = None,
        block: float = 0.25,
    ) -> None:
        for name, value in (("rate", rate), ("tau", tau), ("magnetic_tau", magnetic_tau), ("block", block)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}: need a number above 0.")
        self.rate, self.tau, self.magnetic_tau = rate, tau, magnetic_tau
        self.block = max(1, round(block * rate))
        self._force = LowPass(tau, rate, self.block)
        self._bias = BiasEstimator(bias or GyroBias(), tau, rate, self.block)

    def start(self, batch: int, *, dtype: torch.dtype = torch.float64) -> AttitudeState:
        """Return the state before any sample of `batch` sensors."""
        like = torch.zeros(1, dtype=dtype)
        one = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype).repeat(batch, 1)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=dtype).repeat(batch, 1)
        low = self._force.start(batch, 3, like)
        return AttitudeState(0, one, one, up, like.new_zeros(batch, 2), low, self._bias.start(batch, like))

    def __call__(self, gyro: Tensor, accelerometer: Tensor, magnetometer: Tensor | None = None) -> Attitudes:
        """Estimate the attitude of whole recordings, each sample from its past alone.

        Args:
            gyro: Angular rate, shape (B, T, 3), rad/s.
            accelerometer: Specific force, shape (B, T, 3), m/s^2 (a resting one reads 9.81 upwards).
            magnetometer: In any unit, shape (B, T, 3), or None.

        Returns:
            Attitude, bias and rest of every sample; online.

        Raises:
            ValueError: If shapes or dtypes disagree or a value is not finite; names sensor and row.
        """
        return self.transform(gyro, accelerometer, self.start(len(gyro), dtype=gyro.dtype), magnetometer)[0]

    def transform(
        self, gyro: Tensor, accelerometer: Tensor, state: AttitudeState, magnetometer: Tensor | None = None
    ) -> tuple[Attitudes, AttitudeState]:
        """Go on from a state with a chunk of any length; return its attitudes and the state after it."""
        _needs_samples(gyro, accelerometer, magnetometer)
        parts, at = list[Attitudes](), 0
        while at < gyro.shape[1]:
            end = min(at + self.block - state.rows % self.block, gyro.shape[1])
            field = None if magnetometer is None else magnetometer[:, at:end]
            part, state = self._segment(gyro[:, at:end], accelerometer[:, at:end], field, state)
            parts.append(part)
            at = end
        if not parts:
            empty = gyro.new_zeros(len(gyro), 0, 4)
            return Attitudes(empty, empty[..., :3], empty[..., 0].bool()), state
        return Attitudes(*(torch.cat(column, 1) for column in zip(*parts, strict=True))), state

    def step(
        self, gyro: Tensor, accelerometer: Tensor, state: AttitudeState, magnetometer: Tensor | None = None
    ) -> tuple[Attitudes, AttitudeState]:
        """Go on by one sample: gyro, accelerometer and magnetometer (B, 3); results without the axis of time."""
        field = None if magnetometer is None else magnetometer[:, None]
        made, state = self.transform(gyro[:, None], accelerometer[:, None], state, field)
        return Attitudes(*(part[:, 0] for part in made)), state

    def _segment(
        self, gyro: Tensor, force: Tensor, field: Tensor | None, state: AttitudeState
    ) -> tuple[Attitudes, AttitudeState]:
        """Estimate samples that lie in one block."""
        drifting = self._integrate(gyro - state.bias.bias[:, None], state.drifting)
        low, force_state = self._force(so3.rotate(drifting, force), state.force)
        up = low / low.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        level, tilt = _levelled(up, state)
        quaternion = so3.product(level, drifting)
        resting, bias = self._bias.gather(gyro, force, so3.matrix(quaternion), tilt * self.rate, state.bias)
        rows = state.rows + gyro.shape[1]
        last, upright = drifting[:, -1], level[:, -1]
        if rows % self.block == 0:
            bias = self._bias.close(bias, self.block)
            last = last / last.norm(dim=-1, keepdim=True)
            upright = so3.product(_least_turn(so3.rotate(upright, up[:, -1]), _up_like(up[:, -1])), upright)
            upright = upright / upright.norm(dim=-1, keepdim=True)
        north = state.north
        if field is not None:
            quaternion, north = self._head(quaternion, field, north)
        held = state.bias.bias[:, None].expand_as(gyro)
        carried = AttitudeState(rows, last, upright, up[:, -1], north, force_state, bias)
        return Attitudes(quaternion, held, resting), carried

    def _integrate(self, rates: Tensor, start: Tensor) -> Tensor:
        """Return attitudes (B, n, 4) after each rate (B, n, 3), held over one period."""
        steps = so3.exponential(rates / self.rate)
        turned = so3.running_product(steps.mT).mT if steps.shape[1] > 1 else steps
        return so3.product(start[:, None].expand_as(turned), turned)

    def _head(self, quaternion: Tensor, field: Tensor, north: Tensor) -> tuple[Tensor, Tensor]:
        """Turn attitudes about the vertical so that the mean magnetic direction points north (y)."""
        flat = so3.rotate(quaternion, field)[..., :2]
        flat = flat / flat.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        age = torch.arange(1, flat.shape[1] + 1).to(flat)[:, None] / (self.rate * self.magnetic_tau)
        sums = torch.exp(-age) * (north[:, None] + (torch.exp(age) * flat).cumsum(1))
        half = torch.atan2(sums[..., 0], sums[..., 1]) / 2
        nothing = torch.zeros_like(half)
        turn = torch.stack([nothing, nothing, torch.sin(half), torch.cos(half)], -1)
        return so3.product(turn, quaternion), sums[:, -1]


def _levelled(up: Tensor, state: AttitudeState) -> tuple[Tensor, Tensor]:
    """Return the turns (B, n, 4) that keep `up` (B, n, 3) upright, and by how much each sample tilts it.

    Each sample adds the least turn; in the drifting frame that is parallel transport along the path of `up`, so turns
    of a block are one running product.
    """
    before = torch.cat([state.up[:, None], up[:, :-1]], 1)
    moved = _least_turn(up, before)
    passed = so3.running_product(moved.mT).mT if up.shape[1] > 1 else moved
    level = so3.product(state.level[:, None].expand_as(passed), passed)
    earlier = torch.cat([state.level[:, None], level[:, :-1]], 1)
    seen = so3.rotate(earlier, up)
    return level, torch.stack([-seen[..., 1], seen[..., 0]], -1)


def _least_turn(a: Tensor, b: Tensor) -> Tensor:
    """Return the least rotations that bring unit vectors a to b; opposite ones are turned about an axis across."""
    scalar = 1 + (a * b).sum(-1, keepdim=True)
    opposite = scalar < 1e-9
    x, y, z = a.unbind(-1)
    none = torch.zeros_like(x)
    across = torch.where(z[..., None].abs() < 0.9, torch.stack([-y, x, none], -1), torch.stack([none, -z, y], -1))
    made = torch.cat([torch.where(opposite, across, so3.cross(a, b)), torch.where(opposite, 0.0, scalar)], -1)
    return made / made.norm(dim=-1, keepdim=True)


def _up_like(like: Tensor) -> Tensor:
    """Return unit vectors along z, shaped like `like`."""
    return torch.tensor([0.0, 0.0, 1.0]).to(like).expand_as(like)


def _needs_samples(gyro: Tensor, accelerometer: Tensor, magnetometer: Tensor | None) -> None:
    """Refuse samples of other shapes, dtypes, or that are not finite."""
    named = {"gyro": gyro, "accelerometer": accelerometer}
    if magnetometer is not None:
        named["magnetometer"] = magnetometer
    for name, values in named.items():
        if values.ndim != 3 or values.shape[-1] != 3 or values.shape != gyro.shape or values.dtype != gyro.dtype:
            raise ValueError(
                f"{name} is {values.dtype} {tuple(values.shape)}, gyro {gyro.dtype} {tuple(gyro.shape)}: "
                "need the same dtype and (B, T, 3)."
            )
        bad = (~torch.isfinite(values)).any(-1).nonzero()
        if len(bad):
            sensor, row = bad[0].tolist()
            raise ValueError(
                f"{name} of sensor {sensor} is {values[sensor, row].tolist()} at row {row}: need finite numbers. "
                "Fill short gaps with the last value first."
            )
