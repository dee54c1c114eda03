"""Rigid motions as matrices (..., 4, 4), twists (..., 6) and poses (..., 7): arrays or tensors, batched.

A twist is a rotation vector, then a translation: [rad, m], or a rate [rad/s, m/s] times seconds. A pose is px py pz,
then the quaternion x y z w.

Source: Barfoot, State Estimation for Robotics, 2017, section 7.1; Sola et al., A micro Lie theory, 2018.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.preprocess.extra import needs

# Angle squared below which a series is summed: at 0.05 its first left-out term is under 1e-16 of the sum.
SMALL = 0.05
# Points moved at once on a CPU: what is worked out for them stays in a core's cache, four times as fast as 120,000.
PART = 8192
# The same three by powers of the angle squared, (-1)^k / (2 k + 1 + row)!.
SERIES = [[(-1) ** k / math.factorial(2 * k + 1 + row) for k in range(6)] for row in range(3)]


def exp_se3(twist: Batch) -> Batch:
    """Return the motion (..., 4, 4) of a twist (..., 6)."""
    needs("roma", "train")
    import roma

    given = tensor(_needs(twist, 6, "twist"))
    turn, shift = given[..., :3], given[..., 3:]
    _, second, third = _factors(turn.square().sum(-1, keepdim=True))
    crossed = torch.linalg.cross(turn, shift)
    shift = shift + second * crossed + third * torch.linalg.cross(turn, crossed)
    return like(_matrix(roma.rotvec_to_rotmat(turn), shift), twist)


def log_se3(motion: Batch) -> Batch:
    """Return the twist (..., 6) of a motion (..., 4, 4), its angle at most pi."""
    needs("roma", "train")
    import roma

    given = tensor(motion)
    turn, shift = roma.rotmat_to_rotvec(given[..., :3, :3].contiguous()), given[..., :3, 3]
    square = turn.square().sum(-1, keepdim=True)
    half = square.clamp_min(SMALL).sqrt() / 2
    series = 1 / 12 + square * (1 / 720 + square * (1 / 30240 + square * (1 / 1209600 + square / 47900160)))
    factor = torch.where(square < SMALL, series, (1 - half / half.tan()) / square.clamp_min(SMALL))
    crossed = torch.linalg.cross(turn, shift)
    return like(torch.cat([turn, shift - crossed / 2 + factor * torch.linalg.cross(turn, crossed)], -1), motion)


def compose(first: Batch, second: npt.NDArray[Any] | Tensor) -> Batch:
    """Return first @ second, (..., 4, 4): what `second` maps into, `first` maps on."""
    given = tensor(first)
    return like(given @ beside(second, given), first)


def invert(motion: Batch) -> Batch:
    """Return the inverse of a motion (..., 4, 4), exactly rigid."""
    given = tensor(motion)
    back = given[..., :3, :3].mT
    return like(_matrix(back, -(back @ given[..., :3, 3:])[..., 0]), motion)


def interpolate(first: Batch, second: npt.NDArray[Any] | Tensor, share: npt.NDArray[Any] | Tensor | float) -> Batch:
    """Return the motion a share of the way from `first` (..., 4, 4) to `second` at constant twist (screw motion).

    Args:
        first: Motions at share 0.
        second: Motions at share 1.
        share: Shape (...), 0 to 1; beyond them the motion goes on.
    """
    begin = tensor(first)
    step = log_se3(invert(begin) @ beside(second, begin))
    return like(begin @ exp_se3(step * beside(share, begin)[..., None]), first)


def from_poses(poses: Batch) -> Batch:
    """Return motions (..., 4, 4) of poses (..., 7), which need not be normalised to the last digit."""
    needs("roma", "train")
    import roma

    given = tensor(_needs(poses, 7, "pose"))
    turn = roma.unitquat_to_rotmat(torch.nn.functional.normalize(given[..., 3:], dim=-1))
    return like(_matrix(turn, given[..., :3]), poses)


def to_poses(motions: Batch) -> Batch:
    """Return poses (..., 7) of motions (..., 4, 4)."""
    needs("roma", "train")
    import roma

    given = tensor(motions)
    return like(torch.cat([given[..., :3, 3], roma.rotmat_to_unitquat(given[..., :3, :3].contiguous())], -1), motions)


def move_points(motion: npt.NDArray[Any] | Tensor, points: Batch) -> Batch:
    """Move points (..., N, 3) by motions (..., 4, 4)."""
    given = tensor(_needs(points, 3, "points"))
    by = beside(motion, given)
    return like(given @ by[..., :3, :3].mT + by[..., None, :3, 3], points)


def twist_points(points: Batch, twist: npt.NDArray[Any] | Tensor) -> Batch:
    """Move each point (..., 3) by the motion of its own twist (..., 6), without laying out a matrix for each."""
    given = tensor(_needs(points, 3, "points"))
    turn, shift = beside(_needs(twist, 6, "twist"), given).split(3, -1)
    first, second, third = _factors(turn.square().sum(-1, keepdim=True))
    inner = first * given + second * shift + torch.linalg.cross(turn, second * given + third * shift)
    return like(given + shift + torch.linalg.cross(turn, inner), points)


def steady_points(points: Batch, twist: npt.NDArray[Any] | Tensor, times: npt.NDArray[Any] | Tensor) -> Batch:
    """Move points (..., N, 3) by one twist a set (..., 6), each for its own time (..., N) seconds.

    The same as `twist_points(points, times * twist)` at a fraction of its cost: what does not depend on the point is
    worked out once. Where a gradient is asked for it is that.
    """
    given = tensor(_needs(points, 3, "points"))
    turn, shift = beside(_needs(twist, 6, "twist"), given).split(3, -1)
    clock = beside(times, given)
    if torch.is_grad_enabled() and (given.requires_grad or turn.requires_grad or clock.requires_grad):
        by = torch.cat([turn, shift], -1)[..., None, :] * clock[..., None]
        return like(twist_points(given, by), points)
    once = _hat(turn)
    moved = once @ shift[..., None]
    columns = torch.cat([once, once @ once, shift[..., None], moved, once @ moved], -1)  # (..., 3, 9)
    square = turn.square().sum(-1)[..., None]
    size = max(given.shape[-2], 1) if given.is_cuda else PART
    shape = torch.broadcast_shapes(given.shape[:-1], clock.shape, (*square.shape[:-1], 1))
    made = given.new_empty(*shape, 3)
    for part, when, out in zip(given.split(size, -2), clock.split(size, -1), made.split(size, -2), strict=True):
        _steady_part(part, _weights(square, when), when, columns.mT, out)
    return like(made, points)


def _steady_part(points: Tensor, weights: Tensor, times: Tensor, columns: Tensor, out: Tensor) -> None:
    """Write p + A W p + B W^2 p + t v + B W v + C W^2 v by one product; W and v from the twist, A, B, C from t.

    Coordinates lie in rows (9, n) meanwhile: torch is 10 times slower on columns of three.
    """
    # BLAS transposes faster than a copy does.
    across = torch.eye(3, dtype=points.dtype, device=points.device) @ points.mT
    terms = points.new_empty(*out.shape[:-2], 9, times.shape[-1])
    torch.mul(across, weights[..., :1, :], out=terms[..., :3, :])
    torch.mul(across, weights[..., 1:2, :], out=terms[..., 3:6, :])
    terms[..., 6, :], terms[..., 7:, :] = times, weights[..., 1:, :]
    torch.add(points, terms.mT @ columns, out=out)


def _weights(square: Tensor, times: Tensor) -> Tensor:
    """Return t sin a / a, t^2 (1 - cos a) / a^2 and t^3 (a - sin a) / a^3 with a^2 = square t^2, (..., 3, n)."""
    angles = square * times.square()
    if times.is_cuda or (times.numel() and float(angles.max()) >= SMALL):
        made = torch.stack(_factors(angles), -2)
    else:
        powers = times.new_ones(*angles.shape[:-1], 6, angles.shape[-1])
        for power in range(1, 6):
            torch.mul(powers[..., power - 1, :], angles, out=powers[..., power, :])
        made = torch.tensor(SERIES, dtype=times.dtype, device=times.device) @ powers
    made *= times[..., None, :]
    made[..., 1:, :] *= times[..., None, :]
    made[..., 2, :] *= times
    return made


def _factors(square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sin a / a, (1 - cos a) / a^2 and (a - sin a) / a^3 of angles squared."""
    angle = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()  # whose slope is finite at 0
    first, half = torch.sinc(angle / math.pi), torch.sinc(angle / (2 * math.pi))
    series = torch.zeros_like(square)
    for coefficient in reversed(SERIES[2]):
        series = series * square + coefficient
    third = (1 - first) / square.clamp_min(SMALL)
    return first, half.square() / 2, torch.where(square < SMALL, series, third)


def _matrix(turn: Tensor, shift: Tensor) -> Tensor:
    made = turn.new_zeros(*torch.broadcast_shapes(turn.shape[:-2], shift.shape[:-1]), 4, 4)
    made[..., :3, :3] = turn
    made[..., :3, 3] = shift
    made[..., 3, 3] = 1
    return made


def _hat(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def _needs(given: Any, width: int, name: str) -> Any:
    if not given.ndim or given.shape[-1] != width:
        raise ValueError(f"{name} has shape {tuple(given.shape)}, needed (..., {width}).")
    return given
