"""What each sensor beside the inertial unit sees of a state: its prediction and its Jacobian by the error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.inertial.state import ACCELEROMETER_BIAS, EXTRA, GYRO_BIAS, POSITION, ROTATION, VELOCITY
from mambats.estimators.inertial.state import NavigationState as State
from mambats.preprocess.imu import so3

#: Numbers that each stream measures.
MEASURED = {"imu": 6, "gnss": 3, "wheel": 2, "rolling": 2, "still": 3, "barometer": 1}


class View(NamedTuple):
    """What a measurement model is told.

    Args:
        state: Where the body is.
        turn: Its attitude, (B, 3, 3).
        rate: Its angular velocity in the body, bias taken off, (B, 3), rad/s.
        lever: Where the sensor sits in the body, (3,), m.
        late: Seconds that the measurement is older than the state, scalar or (B,).
        scale: Place of the wheel's scale errors in the extras, or None.
        wander: Place of the receiver's slow error in the extras, or None.
        gravity: m/s^2.
    """

    state: State
    turn: Tensor
    rate: Tensor
    lever: Tensor
    late: Tensor
    scale: slice | None
    wander: slice | None
    gravity: float


def _blank(view: View, rows: int) -> Tensor:
    return view.state.covariance.new_zeros(len(view.turn), rows, view.state.covariance.shape[-1])


def gnss(view: View) -> tuple[Tensor, Tensor]:
    """Position of the antenna `late` seconds ago, at constant velocity: p + R l + wander - late (v + R (w x l))."""
    late = view.late.reshape(-1, 1)
    swing = so3.cross(view.rate, view.lever.expand_as(view.rate))
    arm = view.lever - late * swing
    seen = view.state.position - late * view.state.velocity + (view.turn @ arm[..., None])[..., 0]
    eye = torch.eye(3, dtype=arm.dtype, device=arm.device)
    rows = _blank(view, 3)
    rows[:, :, ROTATION] = -view.turn @ so3.hat(arm)
    rows[:, :, VELOCITY] = -late[..., None] * eye
    rows[:, :, POSITION] = eye
    rows[:, :, GYRO_BIAS] = -late[..., None] * (view.turn @ so3.hat(view.lever.expand_as(view.rate)))
    if view.wander is not None:
        rows[:, :, EXTRA + view.wander.start : EXTRA + view.wander.stop] = eye
        seen = seen + view.state.extra[:, view.wander]
    return seen, rows


def _body_velocity(view: View) -> tuple[Tensor, Tensor]:
    """Velocity of the sensor's place in the body, (B, 3), and its Jacobian."""
    back = view.turn.mT
    moving = (back @ view.state.velocity[..., None])[..., 0]
    lever = view.lever.expand_as(view.rate)
    rows = _blank(view, 3)
    rows[:, :, ROTATION] = so3.hat(moving)
    rows[:, :, VELOCITY] = back
    rows[:, :, GYRO_BIAS] = so3.hat(lever)
    return moving + so3.cross(view.rate, lever), rows


def wheel(view: View) -> tuple[Tensor, Tensor]:
    """Speed along body x and rate about body z, each times one plus its scale error; the speed `late` seconds ago."""
    velocity, rows = _body_velocity(view)
    down = view.turn[:, 2] * view.gravity  # gravity's reaction in the body
    force = view.state.reading[:, 3:] - view.state.bias[:, 3:]
    pull = force - down - so3.cross(view.rate, velocity)
    speed, spin = velocity[:, 0] - view.late * pull[:, 0], view.rate[:, 2]
    made = torch.stack([rows[:, 0], torch.zeros_like(rows[:, 0])], 1)
    made[:, 0, ACCELEROMETER_BIAS.start] = view.late
    made[:, 1, GYRO_BIAS.stop - 1] = -1
    seen = torch.stack([speed, spin], -1)
    if view.scale is None:
        return seen, made
    scale = 1 + view.state.extra[:, view.scale]
    made = made * scale[..., None]
    made[:, :, EXTRA + view.scale.start : EXTRA + view.scale.stop] = torch.diag_embed(seen)
    return seen * scale, made


def rolling(view: View) -> tuple[Tensor, Tensor]:
    """Velocity along body y and z, which wheels that do not skid hold at zero (non-holonomic constraint)."""
    velocity, rows = _body_velocity(view)
    return velocity[:, 1:], rows[:, 1:]


def still(view: View) -> tuple[Tensor, Tensor]:
    """Velocity in the world: zero while the body rests."""
    rows = _blank(view, 3)
    rows[:, :, VELOCITY] = torch.eye(3, dtype=rows.dtype, device=rows.device)
    return view.state.velocity, rows


def barometer(view: View) -> tuple[Tensor, Tensor]:
    """Height in the world, m; pressure is turned into height beforehand."""
    rows = _blank(view, 1)
    rows[:, 0, POSITION.stop - 1] = 1
    return view.state.position[:, 2:], rows


MODELS = {"gnss": gnss, "wheel": wheel, "rolling": rolling, "still": still, "barometer": barometer}
