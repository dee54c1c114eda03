"""Rotations of many samples at once: components apart, samples along memory.

A vector is (3, ...), a unit quaternion (4, ...) or (B, 4, T) with x, y, z, w (scalar last, as scipy has it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NEAR = 0.25  # squared half angle below which the series of seven terms has all digits of float64


def product(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Return the quaternions that turn by b first and then by a; components along `dim`."""
    ax, ay, az, aw = a.unbind(dim)
    bx, by, bz, bw = b.unbind(dim)
    made = (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
    return torch.stack(made, dim)


def conjugate(q: Tensor, dim: int = -1) -> Tensor:
    """Return the inverse of unit quaternions."""
    x, y, z, w = q.unbind(dim)
    return torch.stack([-x, -y, -z, w], dim)


def rotate(q: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Turn vectors by unit quaternions: v + 2 w (u x v) + 2 u x (u x v)."""
    u, w = q.narrow(dim, 0, 3), q.narrow(dim, 3, 1)
    t = 2 * cross(u, v, dim)
    return v + w * t + cross(u, t, dim)


def cross(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Return a x b (fewer passes over memory than `torch.linalg.cross` where samples lie along the last axis)."""
    ax, ay, az = a.unbind(dim)
    bx, by, bz = b.unbind(dim)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim)


def half_turn(square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what Exp and its Jacobians need of squared angles [rad^2], smooth at zero.

    Returns:
        sin(a/2) / a, cos(a/2) and (1 - sin(a/2) / (a/2)) / a^2, which are 1/2, 1 and 1/24 at zero.
    """
    quarter = square * 0.25
    half = quarter.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
    sine, cosine = torch.sin(half), torch.cos(half)
    ratio = torch.where(quarter < 1e-16, 1.0, sine / half)
    far = (1 - ratio) / (4 * quarter.clamp_min(_NEAR))
    return 0.5 * ratio, cosine, torch.where(quarter < _NEAR, _series(quarter), far)


def _series(square: Tensor) -> Tensor:
    """Return (1 - sin(x) / x) / (4 x^2) of small x^2: terms are dropped below the precision of the dtype."""
    last = 6 if square.dtype == torch.float64 else 3
    total = torch.full_like(square, 0.25 * (-1) ** last / math.factorial(2 * last + 3))
    for k in range(last - 1, -1, -1):
        total = torch.addcmul(torch.full_like(square, 0.25 * (-1) ** k / math.factorial(2 * k + 3)), total, square)
    return total


def exponential(vector: Tensor, dim: int = -1) -> Tensor:
    """Turn rotation vectors [rad] to unit quaternions along `dim`."""
    scale, cosine, _ = half_turn(vector.square().sum(dim))
    return torch.cat([scale.unsqueeze(dim) * vector, cosine.unsqueeze(dim)], dim)


def logarithm(q: Tensor) -> Tensor:
    """Return rotation vectors (..., 3) in radians, not longer than pi, of unit quaternions (..., 4)."""
    q = torch.where(q[..., 3:] < 0, -q, q)
    sine = q[..., :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., 3:])
    return q[..., :3] * torch.where(sine < 1e-12, 2.0, angle / sine.clamp_min(1e-300))


def matrix(quaternion: Tensor, dim: int = -1) -> Tensor:
    """Return rotation matrices of unit quaternions: `dim` of 4 becomes two axes of 3."""
    x, y, z, w = quaternion.unbind(dim)
    outer = [[2 * a * b for b in (x, y, z, w)] for a in (x, y, z)]
    (xx, xy, xz, xw), (_, yy, yz, yw), (_, _, zz, zw) = outer
    rows = (1 - yy - zz, xy - zw, xz + yw, xy + zw, 1 - xx - zz, yz - xw, xz - yw, yz + xw, 1 - xx - yy)
    return torch.stack(rows, dim).unflatten(dim, (3, 3))


def moments_to_matrix(like: Tensor) -> Tensor:
    """Return the map (9, 16) from q q^T to the rotation matrix, both row by row: R is linear in it."""
    x, y, z, w = range(4)
    diagonal = ((1, -1, -1, 1), (-1, 1, -1, 1), (-1, -1, 1, 1))
    made = torch.zeros(9, 4, 4)
    for row, signs in enumerate(diagonal):
        made[4 * row] = torch.diag(torch.tensor(signs, dtype=made.dtype))
    for cell, (a, b), sign in ((1, (x, y), -1), (2, (x, z), 1), (5, (y, z), -1)):
        mirror = 3 * (cell % 3) + cell // 3
        other = next(c for c in (x, y, z) if c not in (a, b))
        made[cell, a, b] = made[mirror, a, b] = 2
        made[cell, other, w], made[mirror, other, w] = 2 * sign, -2 * sign
    return made.flatten(1).to(like)


def matrix_of_moments(outer: Tensor) -> Tensor:
    """Return sums of rotation matrices (..., 3, 3) from the sums of q q^T (..., 16)."""
    return (outer @ moments_to_matrix(outer).mT).unflatten(-1, (3, 3))


def hat(vector: Tensor) -> Tensor:
    """Return the matrices (..., 3, 3) of v x, for vectors v (..., 3)."""
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def running_product(steps: Tensor) -> Tensor:
    """Return q_t = steps_0 ... steps_t for every t of quaternions (B, 4, T).

    Time is cut into blocks of about sqrt(T) that run side by side, then each is turned by what came before it. Pairs
    of complex numbers halve the number of calls against four real components: 38 M products a second for (4096, 100)
    float32 on one thread against 22 M (real components), 7 M (3x3 matrices) and 3.5 M (doubling).
    """
    batch, _, length = steps.shape
    width = max(1, math.isqrt(length))
    blocks = -(-length // width)
    if blocks * width > length:
        rest = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(steps)[:, None].expand(batch, 4, blocks * width - length)
        steps = torch.cat([steps, rest], 2)
    by_time = steps.view(batch, 4, blocks, width).permute(3, 1, 2, 0).reshape(width, 4, -1)
    x, y, z, w = by_time.unbind(1)
    inside = _running(torch.complex(w, x), torch.complex(y, z))
    if blocks > 1:
        ends = _running(*(part[-1].view(blocks, batch) for part in inside))
        start = (torch.ones_like(ends[0][:1]), torch.zeros_like(ends[1][:1]))
        before = [torch.cat([one, part[:-1]]).flatten() for one, part in zip(start, ends, strict=True)]
        inside = _pair_product(before[0], before[1], *inside)
    a, b = inside
    made = torch.stack([a.imag, b.real, b.imag, a.real], 1).view(width, 4, blocks, batch)
    return made.permute(3, 1, 2, 0).reshape(batch, 4, -1)[..., :length]


def _running(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return running products of pairs along the first axis."""
    lefts, rights = [a[0]], [b[0]]
    for t in range(1, len(a)):
        left, right = _pair_product(lefts[-1], rights[-1], a[t], b[t])
        lefts.append(left)
        rights.append(right)
    return torch.stack(lefts), torch.stack(rights)


def _pair_product(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply quaternions written as a + b j with complex a = w + x i, b = y + z i."""
    return a * c - b * d.conj(), a * d + b * c.conj()
