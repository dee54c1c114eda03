"""Rotations of many samples at once, in few calls.

Vectors are (..., 3) and unit quaternions (..., 4), x y z w (scalar last, as scipy has it); what works on many
samples in a row has them along memory: (B, 3, T), (B, 4, T).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

# Terms of bilinear maps: cell of the result, indices into a and b, factor.
_CROSS = ((0, 1, 2, 1), (0, 2, 1, -1), (1, 2, 0, 1), (1, 0, 2, -1), (2, 0, 1, 1), (2, 1, 0, -1))
_SCALAR = ((0, 0, 3, 1), (0, 3, 0, 1), (1, 1, 3, 1), (1, 3, 1, 1), (2, 2, 3, 1), (2, 3, 2, 1))
_PRODUCT = (*_CROSS, *_SCALAR, (3, 3, 3, 1), (3, 0, 0, -1), (3, 1, 1, -1), (3, 2, 2, -1))
_DIAGONAL = tuple((4 * i, j, j, 1 if j in (i, 3) else -1) for i in range(3) for j in range(4))
_BESIDE = tuple((cell, a, b, 2) for cell, a, b in ((1, 0, 1), (3, 0, 1), (2, 0, 2), (6, 0, 2), (5, 1, 2), (7, 1, 2)))
_TURNING = tuple(
    (cell, a, 3, f) for cell, a, f in ((1, 2, -2), (3, 2, 2), (2, 1, 2), (6, 1, -2), (5, 0, -2), (7, 0, 2))
)
_MATRIX = (*_DIAGONAL, *_BESIDE, *_TURNING)
_NEAR = 0.25  # squared half angle below which the series of seven terms has all digits of float64


@lru_cache(maxsize=16)
def _table(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the map from a b^T, row by row, to what is bilinear in a and b: two calls where components need thirty."""
    tables = {"product": ((4, 4), _PRODUCT), "cross": ((3, 3), _CROSS), "matrix": ((4, 4), _MATRIX)}
    shape, cells = tables[name]
    made = torch.zeros(*shape, max(cell for cell, *_ in cells) + 1, dtype=torch.float64)
    for cell, a, b, value in cells:
        made[a, b, cell] += value
    return made.flatten(0, 1).to(dtype=dtype, device=device)


def _bilinear(name: str, a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None] * b[..., None, :]).flatten(-2) @ _table(name, a.dtype, a.device)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the quaternions (..., 4) that turn by b first and then by a."""
    return _bilinear("product", a, b)


def conjugate(q: Tensor) -> Tensor:
    """Return the inverse of unit quaternions (..., 4)."""
    return torch.cat([-q[..., :3], q[..., 3:]], -1)


def matrix(q: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    return _bilinear("matrix", q, q).unflatten(-1, (3, 3))


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Turn vectors (..., 3) by unit quaternions (..., 4)."""
    return (matrix(q) @ v[..., None])[..., 0]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Return a x b of vectors (..., 3)."""
    return _bilinear("cross", a, b)


def cross_rows(a: Tensor, b: Tensor) -> Tensor:
    """Return a x b of vectors (B, 3, T), samples along the last axis."""
    ax, ay, az = a.unbind(1)
    bx, by, bz = b.unbind(1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


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


def exponential(vector: Tensor) -> Tensor:
    """Turn rotation vectors (..., 3) in radians to unit quaternions (..., 4)."""
    scale, cosine, _ = half_turn(vector.square().sum(-1, keepdim=True))  # whose gradient at zero is finite
    return torch.cat([scale * vector, cosine], -1)


def logarithm(quaternion: Tensor) -> Tensor:
    """Return rotation vectors (..., 3) in radians, at most half a turn, of unit quaternions x y z w; smooth at none."""
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    axis, square = quaternion[..., :3], quaternion[..., :3].square().sum(-1, keepdim=True)
    small = square < 1e-12
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    angle = 2 * torch.atan2(sine, quaternion[..., 3:])
    return axis * torch.where(small, 2 + square / 3, angle / sine)  # asin(s) / s = 1 + s^2 / 6 + ...


def moments_to_matrix(like: Tensor) -> Tensor:
    """Return the map (16, 9) from q q^T to the rotation matrix, both row by row: R is linear in it."""
    return _table("matrix", like.dtype, like.device)


def matrix_of_moments(outer: Tensor) -> Tensor:
    """Return sums of rotation matrices (..., 3, 3) from the sums of q q^T (..., 16)."""
    return (outer @ moments_to_matrix(outer)).unflatten(-1, (3, 3))


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
    if torch.compiler.is_exporting():
        return _doubled(steps)
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


#: Most steps that a graph multiplies up, as a power of two.
DOUBLINGS = 10


def _doubled(steps: Tensor) -> Tensor:
    """Return running products of at most 2^`DOUBLINGS` quaternions (B, 4, T), by as many operations for any T."""
    made = steps.mT
    for k in range(DOUBLINGS):
        # What lies before the first is the identity.
        before = torch.nn.functional.pad(made, (0, 0, 2**k, 0))[:, : made.shape[1]]
        none = torch.arange(made.shape[1], device=made.device)[:, None] < 2**k
        made = torch.where(none, made, product(before, made))
    return made.mT


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
