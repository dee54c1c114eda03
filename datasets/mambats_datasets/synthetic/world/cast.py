"""What each ray meets first: a box or the ground.

Rays come in columns: those of one column leave one point at one time and lie in one half plane (a spinning LiDAR's
rings, a camera's column of pixels), so a box that the half plane misses is not tried against the column's rays.
"""

from __future__ import annotations

import torch

from mambats_datasets.synthetic.world.rays import EARTH, NOTHING, Hits, Rays
from mambats_datasets.synthetic.world.scene import Boxes, Scene
from mambats_datasets.synthetic.world.slab import face, meet, nearby

# Ray-box pairs held at once. On one thread of a CPU 2^17, 2^19 and 2^22 cast 94, 117 and 90 sweeps a second; a GPU
# wants few launches and has the room.
CHUNK = {"cpu": 1 << 19, "cuda": 1 << 25}
TRIED = 16  # boxes that a column tries at most, about: bench_world.py prints how many


def cast(scene: Scene, rays: Rays, limit: float, chunk: int | None = None) -> Hits:
    """Find what each ray meets first. Boxes are seen from outside only: one that holds the origin is not there.

    Args:
        scene: B scenes.
        rays: B x K columns of n rays.
        limit: Longest range, metres.
        chunk: Ray-box pairs held at once, about, or None for `CHUNK`: memory depends on it, the numbers do not.

    Returns:
        Range, object, normal and place of each hit.
    """
    batch, _, width = rays.direction.shape[:3]
    if not rays.direction.numel():
        none = rays.direction[..., 0]
        return Hits(none, none.long(), rays.direction, rays.direction)
    times, objects = rays.time.shape[1], scene.kind.shape[1]
    held = rays.share * (width * TRIED + 4 * objects)  # 4: bounding spheres take float64 and three coordinates
    most = max(1, (chunk or CHUNK.get(rays.direction.device.type, 1 << 25)) // held)
    rows, step = max(1, most // times), min(times, most)
    lines: list[Hits] = []
    for row in range(0, batch, rows):
        here = slice(row, row + rows)
        some = scene.rows(here)
        parts = [_cast(some, rays.part(here, first, first + step), limit) for first in range(0, times, step)]
        lines.append(_joined(parts, 1))
    return _joined(lines, 0)


def _joined(parts: list[Hits], axis: int) -> Hits:
    return parts[0] if len(parts) == 1 else Hits(*(torch.cat(field, axis) for field in zip(*parts, strict=True)))


def _cast(scene: Scene, rays: Rays, limit: float) -> Hits:
    boxes = scene.boxes(rays.time)
    if rays.share > 1:
        boxes = Boxes(*(part.repeat_interleave(rays.share, 1) for part in boxes))
    near = nearby(boxes, rays, limit)
    reach, which = meet(near, rays)
    ground = scene.ground.cast(rays.origin, rays.direction, limit)
    earth = ground < reach
    reach = torch.where(earth, ground, reach)
    gone = ~(reach <= limit)
    index = near.object.gather(2, which).masked_fill(earth, EARTH).masked_fill(gone, NOTHING)
    reach = reach.masked_fill(gone, torch.inf)
    normal, local = face(near, which, rays, reach)
    place = rays.origin.to(reach)[:, :, None] + reach[..., None] * rays.direction
    up = scene.ground.normal(place[..., :2].nan_to_num(posinf=0.0, neginf=0.0).to(rays.origin)).to(reach)
    normal = torch.where(earth[..., None], up, normal).masked_fill(gone[..., None], 0.0)
    local = torch.where(earth[..., None], place, local).masked_fill(gone[..., None], 0.0)
    return Hits(reach, index, normal, local)
