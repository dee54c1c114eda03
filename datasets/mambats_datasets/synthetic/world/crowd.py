"""What moves near a trajectory: drawn, then thinned until nothing collides."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.world.chance import choice, normal, uniform
from mambats_datasets.synthetic.world.kinds import CAR, CYCLIST, MOVING, PEDESTRIAN, draw_sizes, table
from mambats_datasets.synthetic.world.mover import Movers
from mambats_datasets.synthetic.world.overlap import Rectangles, overlap

SHARES = (0.5, 0.3, 0.2)  # of cars, pedestrians, cyclists
PARKED, CROSSING = 0.2, 0.3  # shares of the cars that stand, and of all that cross the ego's way
BESIDE = {CAR: (2.8, 9.0), PEDESTRIAN: (2.0, 12.0), CYCLIST: (2.0, 8.0)}  # m from the ego's way, least and most
AHEAD = (-25.0, 45.0)  # m along the ego's heading: more in front, where cameras look
EGO = (4.5, 2.0)  # m, length and width that nothing may enter, whatever drives or flies there
MARGIN = 0.3  # m
CHUNK = {"cpu": 1 << 20, "cuda": 1 << 26}  # pairs of rectangles that are held at once


def draw_movers(generator: torch.Generator, ego: Motion, t: Tensor, objects: int) -> tuple[Movers, Tensor]:
    """Draw `objects` things a scene around an ego motion at times t (B, T), and their kinds (B, M).

    Each is near the ego at its pivot time. It lives for 0.3 to 1.3 of the whole time and may be there before it
    begins or after it ends.
    """
    batch, duration = t.shape[0], float(t[0, -1])
    kind = choice(generator, MOVING, SHARES, batch, objects)
    length = duration * uniform(generator, batch, objects, low=0.3, high=1.3)
    birth = uniform(generator, batch, objects, low=-0.5, high=0.9) * duration
    pivot = (birth + length * uniform(generator, batch, objects)).clamp(0, duration)
    place, heading = _beside(generator, ego, t, pivot, kind)
    slow, fast = table("speed", heading)[kind].unbind(-1)
    speed = slow + (fast - slow) * uniform(generator, batch, objects)
    parked = (kind == CAR) & (uniform(generator, batch, objects) < PARKED)
    curvature = table("curvature", heading)[kind] * normal(generator, batch, objects)
    share = uniform(generator, batch, objects, high=0.6)
    rate = 2 * torch.pi / uniform(generator, batch, objects, low=5.0, high=15.0)
    phase = uniform(generator, batch, objects, high=2 * torch.pi)
    life = torch.stack([birth, pivot, birth + length], -1)
    speed, swing = speed.masked_fill(parked, 0.0), torch.stack([share, rate, phase], -1)
    return Movers(place, heading, curvature, speed, swing, life, draw_sizes(kind, generator)), kind


def _beside(generator: torch.Generator, ego: Motion, t: Tensor, pivot: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, M, 2) beside the ego at pivot times, and headings along or across its own."""
    shape = kind.shape
    row = torch.searchsorted(t.contiguous(), pivot.contiguous()).clamp_max(t.shape[1] - 1)
    at, way = ego_way(ego, row)
    least, most = (torch.tensor([BESIDE[k][side] for k in MOVING], device=t.device)[kind - CAR] for side in (0, 1))
    side = (least + (most - least) * uniform(generator, *shape)) * (uniform(generator, *shape) - 0.5).sign()
    ahead = uniform(generator, *shape, low=AHEAD[0], high=AHEAD[1])
    quarter = choice(
        generator, (0, 1, 2, 3), ((1 - CROSSING) / 2, CROSSING / 2, (1 - CROSSING) / 2, CROSSING / 2), *shape
    )
    heading = way + quarter * torch.pi / 2 + 0.05 * normal(generator, *shape)
    free = uniform(generator, *shape, high=2 * torch.pi)
    return beside(at, way, ahead, side), torch.where(kind == PEDESTRIAN, free, heading)


def ego_way(ego: Motion, row: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, N, 2) and headings (B, N) of the ego at rows (B, N)."""
    forward = ego.rotation[..., :2, 0]
    two = row[..., None].expand(*row.shape, 2)
    x, y = forward.gather(1, two).unbind(-1)
    return ego.position[..., :2].gather(1, two), torch.atan2(y, x)


def beside(place: Tensor, heading: Tensor, ahead: Tensor, left: Tensor) -> Tensor:
    """Places (..., 2) so many metres ahead and left of others."""
    cos, sin = heading.cos(), heading.sin()
    return place + torch.stack([cos * ahead - sin * left, sin * ahead + cos * left], -1)


def thin(movers: Movers, ego: Motion, t: Tensor) -> Movers:
    """Let those never appear that would come within 0.3 m of the ego, or of a mover of a lower index.

    Looked at at times t (B, T): what happens between two of them is not seen.
    """
    count = movers.speed.shape[1]
    hit = torch.zeros((t.shape[0], count + 1, count + 1), dtype=torch.bool, device=t.device)
    for some in blocks(t, (count + 1) ** 2):
        hit |= collisions(footprints(movers, ego, t, some), None)
    earlier = torch.ones(count + 1, count + 1, dtype=torch.bool, device=t.device).triu(1)
    lost = (hit & earlier).any(1)[:, 1:]
    birth, pivot, death = movers.life.unbind(-1)
    return replace(movers, life=torch.stack([birth, pivot, torch.where(lost, -torch.inf, death)], -1))


def blocks(t: Tensor, pairs: int) -> list[slice]:
    """Parts of times t (B, T) that are short enough to hold so many pairs a time."""
    step = max(1, CHUNK.get(t.device.type, 1 << 26) // max(1, t.shape[0] * pairs))
    return [slice(first, first + step) for first in range(0, t.shape[1], step)]


def footprints(movers: Movers, ego: Motion, t: Tensor, some: slice) -> tuple[Rectangles, Tensor]:
    """Rectangles of the ego and of M movers at some of the times, and whether they are there."""
    state = movers.at(t[:, some])
    rows = torch.arange(t.shape[1], device=t.device)[some].expand(t.shape[0], -1)
    place, way = ego_way(ego, rows)
    size = movers.size[:, None, :, :2].expand(-1, rows.shape[1], -1, -1)
    own = torch.tensor(EGO, device=t.device, dtype=size.dtype).expand(*rows.shape, 1, 2)
    joined = (
        torch.cat([place[:, :, None], state.place], 2),
        torch.cat([own, size], 2),
        torch.cat([way[..., None], state.yaw], 2),
    )
    return joined, torch.cat([state.alive.new_ones(*rows.shape, 1), state.alive], 2)


def collisions(moving: tuple[Rectangles, Tensor], others: Rectangles | None) -> Tensor:
    """Whether what moves (B, T, N) ever overlaps itself, (B, N, N), or others (B, S) that stand, (B, N, S)."""
    rectangles, alive = moving
    if others is None:
        return (overlap(rectangles, rectangles, MARGIN) & alive[..., :, None] & alive[..., None, :]).any(1)
    place, size, yaw = (part[:, None] for part in others)
    return (overlap(rectangles, (place, size, yaw), MARGIN) & alive[..., :, None]).any(1)
