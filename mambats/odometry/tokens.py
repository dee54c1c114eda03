"""What the network is shown: sensors summed up per tick, and how the candidates disagree with them and one another.

Nothing in it tells where on the map or which way round the robot started: positions are differences, vectors are
turned by the start's heading or the robot's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.odometry.mixture import Candidates
from mambats.odometry.navigation import POSITION, VELOCITY, Navigation, about_z, turn
from mambats.preprocess.imu import so3
from mambats.series import SensorRows

#: What counts as 1 in a difference of rotation, velocity, position; and as an ordinary deviation.
_UNIT = (0.02,) * 3 + (0.1,) * 3 + (0.5,) * 3
_WHEEL_UNIT, _FIX_UNIT = 0.1, 1.0  # m/s, m


class Memory(NamedTuple):
    """What tokens need of the time before a window."""

    each: Navigation  #: (B, C) estimates at the window's start
    fix: Tensor  #: (B, 3) the last fix, m; NaN where there was none
    since: Tensor  #: (B,) int64 nanoseconds since that fix
    elapsed: Tensor  #: (B,) int64 nanoseconds since the run's start
    start: Tensor  #: (B,) heading at the run's start, rad
    far: Tensor  #: (B, C) how far candidates have lately been from the fixes, m


class Summary(NamedTuple):
    """Rows of a stream summed up per tick."""

    mean: Tensor  #: (B, T, C) float64, 0 where there was no row
    deviation: Tensor  #: (B, T, C) of the rows within the tick
    there: Tensor  #: (B, T) bool


def channels(members: int) -> dict[str, int]:
    """Return the columns of each stream of tokens with `members` candidates: what a fusion encoder is built with."""
    return {"imu": 15, "wheel": 6 + members, "gnss": 5 * members + 4, "state": 18 * members + 5}


def summarise(rows: SensorRows, ticks: int, tick_ns: int) -> Summary:
    """Sum up the rows of each tick, (k tick, (k + 1) tick]; what lies at 0 counts to the first."""
    cell = ((rows.stamps - 1).clamp_min(0) // tick_ns).clamp_max(ticks - 1)
    there = rows.mask & rows.values.isfinite().all(-1)
    values = torch.where(there[..., None], rows.values.double(), 0.0)
    count = values.new_zeros(len(cell), ticks).scatter_add(1, cell, there.double())
    wide = cell[..., None].expand_as(values)
    zeros = values.new_zeros(len(cell), ticks, values.shape[-1])
    share = count.clamp_min(1)[..., None]
    mean = zeros.scatter_add(1, wide, values) / share
    off = torch.where(there[..., None], values - mean.gather(1, wide), 0.0)
    return Summary(mean, (zeros.scatter_add(1, wide, off.square()) / share).sqrt(), count > 0)


def tokens(
    rows: Mapping[str, SensorRows], found: Candidates, each: Navigation, memory: Memory, tick_ns: int
) -> dict[str, SensorRows]:
    """Return the streams of tokens of a window.

    Args:
        rows: Of `imu`, `gnss`, `wheel`, and `query` at every tick.
        found: Candidates at the ticks.
        each: The same estimates in the world, axes (B, T, C).
        memory: Of the time before.
        tick_ns: Nanoseconds of a tick.
    """
    ticks = rows["query"].stamps
    unit, wheels = (summarise(rows[name], ticks.shape[1], tick_ns) for name in ("imu", "wheel"))
    made = {
        "imu": (_of_unit(unit, found), unit.there),
        "wheel": (_of_wheels(wheels, unit, found), wheels.there),
        "state": (_of_state(found, memory, ticks), torch.ones_like(unit.there)),
    }
    streams = {name: _rows(values, there, ticks) for name, (values, there) in made.items()}
    return streams | {"gnss": _of_fixes(rows["gnss"], ticks, each, memory)}


def _of_unit(unit: Summary, found: Candidates) -> Tensor:
    """Mean rates and forces, how much they changed within the tick, which way is up: (B, T, 15)."""
    scale = unit.mean.new_tensor([0.3] * 3 + [1.0] * 3)
    level = unit.mean - unit.mean.new_tensor([0.0] * 5 + [9.8])
    up = so3.matrix(found.reference.quaternion)[..., 2, :]
    up = up - up.new_tensor([0.0, 0.0, 1.0])
    return torch.cat([_squash(level / scale), torch.log10(unit.deviation + 1e-4) + 2, 10 * up], -1)


def _of_wheels(wheels: Summary, unit: Summary, found: Candidates) -> Tensor:
    """Mean v and w, how much they changed, against each candidate's speed and the gyroscope's rate: (B, T, 6 + C)."""
    back = so3.matrix(found.reference.quaternion).mT
    ahead = turn(back, found.reference.velocity)[..., :1] + found.difference[..., VELOCITY.start].double()
    speed, rate = wheels.mean[..., :1], wheels.mean[..., 1:]
    spin = torch.where(unit.there[..., None], rate - unit.mean[..., 2:3], 0.0)
    return torch.cat(
        [
            wheels.mean / wheels.mean.new_tensor([1.0, 0.3]),
            torch.log10(wheels.deviation + 1e-4) + 2,
            _squash((speed - ahead) / _WHEEL_UNIT),
            _squash(spin / 0.02),
            unit.there[..., None].double(),
        ],
        -1,
    )


def _of_state(found: Candidates, memory: Memory, ticks: Tensor) -> Tensor:
    """How candidates differ and how sure they are, where the robot heads, its time: (B, T, 18 C + 5)."""
    unit = found.difference.new_tensor(_UNIT)
    deviation = found.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()
    velocity = found.reference.velocity
    own = turn(about_z(found.reference.yaw).mT, velocity)[..., :2]
    first = turn(about_z(memory.start).mT[:, None], velocity)[..., :2]
    time = torch.log1p((ticks + memory.elapsed[:, None]).double() * 1e-9)[..., None] / 4
    parts = [_squash(found.difference / unit), torch.log(deviation / unit) / 2]
    return torch.cat([*(part.flatten(-2).double() for part in parts), own, first, time], -1)


def _of_fixes(rows: SensorRows, ticks: Tensor, each: Navigation, memory: Memory) -> SensorRows:
    """Each fix against every candidate as it was expected, and against the fix before: (B, T, 5 C + 4)."""
    there = rows.mask & rows.values.isfinite().all(-1)
    fix = torch.where(there[..., None], rows.values.double(), 0.0)
    # The estimate of the last tick strictly before, carried on: the fix itself is not in it yet.
    place = torch.searchsorted(ticks, rows.stamps.contiguous())
    clock = torch.cat([torch.zeros_like(ticks[:, :1]), ticks], 1)
    ahead = (rows.stamps - clock.gather(1, place)).double()[..., None, None] * 1e-9
    parts = (torch.cat([old[:, None], new], 1) for old, new in zip(memory.each, each, strict=True))
    _, velocity, position, covariance = (
        part.gather(1, place.view(*place.shape, *[1] * (part.ndim - 2)).expand(*place.shape, *part.shape[2:]))
        for part in parts
    )
    back = about_z(memory.start).mT[:, None]
    residual = turn(back[:, :, None], fix[..., None, :] - (position + ahead * velocity).nan_to_num(0.0, 0.0, 0.0))
    spread = covariance[..., POSITION, POSITION].diagonal(dim1=-2, dim2=-1).nan_to_num(1e4, 1e4, 1e4)
    spread = torch.log(torch.stack([spread[..., :2].sum(-1), spread[..., 2]], -1).clamp(1e-6, 1e4)) / 4
    before, pause = _before(fix, there, rows.stamps, memory)
    moved = torch.where(before.isfinite(), turn(back, fix - before), 0.0)
    parts = [_squash(residual / _FIX_UNIT).flatten(-2), spread.flatten(-2), _squash(moved / 0.3), pause[..., None]]
    return _rows(torch.cat(parts, -1), there, rows.stamps)


def _before(fix: Tensor, there: Tensor, stamps: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Return the fix before each (B, T, 3), NaN where there is none, and the log of the seconds since, (B, T)."""
    place = torch.arange(1, there.shape[1] + 1, device=there.device)
    last = torch.where(there, place, 0).cummax(1).values
    last = torch.cat([torch.zeros_like(last[:, :1]), last[:, :-1]], 1)
    fixes = torch.cat([memory.fix[:, None], fix], 1)
    clock = torch.cat([-memory.since[:, None], stamps], 1)
    pause = (stamps - clock.gather(1, last)).double() * 1e-9
    before = fixes.gather(1, last[..., None].expand(-1, -1, 3))
    return before, torch.where(before[..., 0].isfinite(), torch.log1p(pause.clamp_min(0)), 3.0)


def remember(rows: Mapping[str, SensorRows], each: Navigation, memory: Memory, length_ns: int, far: Tensor) -> Memory:
    """Return what the next window needs of this one; `far` (B, C) as at its end."""
    fixes = rows["gnss"]
    there = fixes.mask & fixes.values.isfinite().all(-1)
    place = torch.arange(1, there.shape[1] + 1, device=there.device)
    last = torch.where(there, place, 0).amax(1, keepdim=True)
    fix = torch.cat([memory.fix[:, None], fixes.values.double()], 1).gather(1, last[..., None].expand(-1, 1, 3))[:, 0]
    clock = torch.cat([-memory.since[:, None], fixes.stamps], 1).gather(1, last)[:, 0]
    end = Navigation(*(part[:, -1] for part in each))
    return Memory(end, fix, length_ns - clock, memory.elapsed + length_ns, memory.start, far)


def _squash(value: Tensor) -> Tensor:
    """Keep small numbers as they are and large ones small: what a broken sensor says must not drown the rest."""
    return torch.asinh(value).clamp(-12.0, 12.0)


def _rows(values: Tensor, there: Tensor, stamps: Tensor) -> SensorRows:
    values = torch.where(there[..., None], values, 0.0).float()
    return SensorRows(values, there, there.float(), stamps)
