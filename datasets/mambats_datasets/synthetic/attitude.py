"""Attitude from roll, pitch and yaw with their derivatives: quaternion, angular velocity, angular acceleration."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mambats_datasets.synthetic.motion import columns


class Jet(NamedTuple):
    """A function of time with its first two derivatives, each of shape (B, T)."""

    value: Tensor
    rate: Tensor
    bend: Tensor


class Attitude(NamedTuple):
    """Quaternion (B, T, 4) x y z w from body to world, and the rates of the body, expressed in it, (B, T, 3)."""

    quaternion: Tensor
    angular_velocity: Tensor
    angular_acceleration: Tensor


def attitude(roll: Jet, pitch: Jet, yaw: Jet) -> Attitude:
    """Turn angles in radians, R = Rz(yaw) Ry(pitch) Rx(roll), into an attitude. Exact; singular only for inversion.

    Source: Diebel, Representing Attitude, 2006, section 8.2 (1-2-3 sequence): rates, and their derivative.
    """
    (sr, cr), (sp, cp) = ((angle.value.sin(), angle.value.cos()) for angle in (roll, pitch))
    across = yaw.rate * cp
    across_rate = yaw.bend * cp - yaw.rate * pitch.rate * sp
    wx = roll.rate - yaw.rate * sp
    wy = pitch.rate * cr + across * sr
    wz = across * cr - pitch.rate * sr
    ax = roll.bend - yaw.bend * sp - across * pitch.rate
    ay = pitch.bend * cr + across_rate * sr + roll.rate * wz
    az = across_rate * cr - pitch.bend * sr - roll.rate * wy
    return Attitude(_quaternion(roll.value, pitch.value, yaw.value), columns(wx, wy, wz), columns(ax, ay, az))


def atan2_jet(y: Jet, x: Jet) -> Jet:
    """atan2(y, x) with its derivatives; x and y must not vanish together."""
    square = x.value * x.value + y.value * y.value
    rate = (x.value * y.rate - y.value * x.rate) / square
    growth = 2 * (x.value * x.rate + y.value * y.rate)
    bend = (x.value * y.bend - y.value * x.bend - growth * rate) / square
    return Jet(y.value.atan2(x.value), rate, bend)


def hypot_jet(x: Jet, y: Jet) -> Jet:
    """sqrt(x^2 + y^2) with its derivatives; x and y must not vanish together."""
    length = x.value.hypot(y.value)
    rate = (x.value * x.rate + y.value * y.rate) / length
    bend = x.rate * x.rate + x.value * x.bend + y.rate * y.rate + y.value * y.bend - rate * rate
    return Jet(length, rate, bend / length)


def _quaternion(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    (sr, cr), (sp, cp), (sy, cy) = (((angle / 2).sin(), (angle / 2).cos()) for angle in (roll, pitch, yaw))
    cc, ss, cs, sc = cy * cp, sy * sp, cy * sp, sy * cp
    return columns(cc * sr - ss * cr, cs * cr + sc * sr, sc * cr - cs * sr, cc * cr + ss * sr)
