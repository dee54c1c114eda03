"""Rays against upright boxes, by the slab method (Kay and Kajiya, Ray tracing complex scenes, SIGGRAPH 1986)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.rays import Rays
from mambats_datasets.synthetic.world.scene import Boxes

LOOSE = 1.001  # on the bounding spheres: far over float32's rounding, far under what would try more boxes


class Near(NamedTuple):
    """J boxes a column, seen from its origin; half sizes are -1 where there is none, so that no ray meets it."""

    object: Tensor  # (B, K, J) int64, of the object
    offset: Tensor  # (B, K, J, 3) of the column's origin from the centre, in the box's axes, metres
    half: Tensor  # (B, K, J, 3) metres
    cos: Tensor  # (B, K, J) of the yaw
    sin: Tensor  # (B, K, J)


def nearby(boxes: Boxes, rays: Rays, limit: float) -> Near:
    """The boxes whose bounding sphere a column's half plane meets, up to `limit` metres away.

    Args:
        boxes: (B, K, X), X >= 1.
        rays: B x K columns.
        limit: Longest range, metres.

    Returns:
        J of them a column, the most that any column has.
    """
    like = rays.direction
    x, y, z = (boxes.centre - rays.origin[:, :, None]).to(like).unbind(-1)
    radius = (boxes.size[:, :1].norm(dim=-1) * (LOOSE / 2)).to(like)  # sizes do not change in time
    met = boxes.alive & (x * x + y * y + z * z <= (radius + limit).square())
    met &= _along(rays.across.to(like), x, y, z).abs() <= radius
    met &= _along(like.mean(2), x, y, z) >= -radius
    most = max(1, int(met.sum(-1).amax()))
    kept, index = met.byte().topk(most, -1)
    half = boxes.size.gather(2, index[..., None].expand(*index.shape, 3)).to(like) / 2
    yaw = boxes.yaw.gather(2, index)
    cos, sin = yaw.cos().to(like), yaw.sin().to(like)
    x, y, z = (-part.gather(2, index) for part in (x, y, z))
    offset = torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)
    return Near(index, offset, torch.where(kept[..., None].bool(), half, -1.0), cos, sin)


def _along(vector: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Components (B, K, X) along vectors (B, K, 3)."""
    return vector[..., 0, None] * x + vector[..., 1, None] * y + vector[..., 2, None] * z


def meet(near: Near, rays: Rays) -> tuple[Tensor, Tensor]:
    """Range (B, K, n) at which each ray enters the nearest box, infinite where none, and which of the J it is."""
    # A ray along a face has a component of 0; 1e-30 keeps 0 times infinity out and changes no other number.
    x, y, z = (part[:, :, None] + 1e-30 for part in rays.direction.unbind(-1))  # (B, K, 1, n)
    cos, sin = near.cos[..., None], near.sin[..., None]  # (B, K, J, 1)
    slabs = zip((cos * x + sin * y, cos * y - sin * x, z), near.offset.unbind(-1), near.half.unbind(-1), strict=True)
    first, last = zip(*(_slab(along, offset, half) for along, offset, half in slabs), strict=True)
    enter = torch.maximum(torch.maximum(first[0], first[1]), first[2])
    leave = torch.minimum(torch.minimum(last[0], last[1]), last[2])
    reach, which = torch.where((enter <= leave) & (enter > 0), enter, torch.inf).min(2)
    return reach, which


def _slab(along: Tensor, offset: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Ranges between which rays lie between two opposite faces."""
    inverse = along.reciprocal()
    middle, reach = -offset[..., None] * inverse, half[..., None] * inverse.abs()
    return middle - reach, middle + reach


def face(near: Near, which: Tensor, rays: Rays, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Where on the box `which` (B, K, n) the rays enter at ranges `reach`.

    Returns:
        Outward normals in the world and places in the box's axes, both (B, K, n, 3).
    """
    three = which[..., None].expand(*which.shape, 3)
    offset, half = near.offset.gather(2, three), near.half.gather(2, three)
    cos, sin = near.cos.gather(2, which), near.sin.gather(2, which)
    x, y, z = rays.direction.unbind(-1)
    local = offset + reach[..., None] * torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)
    axis = (local.abs() / half).argmax(-1, keepdim=True)
    side = torch.where(torch.arange(3, device=axis.device) == axis, local.sign(), 0.0)
    x, y, z = side.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], -1), local
