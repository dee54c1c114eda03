"""A bank of filters, each blind to one sensor: whatever fails, one of them has not seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationState, NavigationTrack, Start
from mambats.odometry.navigation import Navigation
from mambats.odometry.robot import inertial_filter, wheeled_filter
from mambats.series import SensorRows, SensorWindow

#: What every member does without; the first, that has all, is the filter that the learned model is compared with.
MEMBERS = ("all", "no_gnss", "no_wheel", "no_imu")
SIGHTED = 3  # members that see the inertial unit and so run as one batch
_PARTS = slice(0, 9)


class BankState(NamedTuple):
    """Filters at one moment."""

    sighted: NavigationState  #: of the members that see the inertial unit, one behind the other: (3 B, ...)
    blind: NavigationState  #: of the one that does not, (B, ...)


class FilterBank(nn.Module):
    """Run four filters over the same drive: with all sensors, without GNSS, without wheels, without inertial unit.

    The first three are one filter given less. The last moves by what the wheels say of turning and speed, put into the
    shape of an inertial unit's readings: level, yaw rate w, and v w across.

    Args:
        inertial: Filter of `imu`, `gnss`, `wheel` and `rolling`; None for that of a small robot.
        wheeled: The same for wheels in the place of the inertial unit: wider noise of `imu`.
        tick_ns: Nanoseconds between two answers.
    """

    def __init__(
        self,
        inertial: InertialFilter | None = None,
        wheeled: InertialFilter | None = None,
        tick_ns: int = 100_000_000,
    ) -> None:
        super().__init__()
        if tick_ns < 1:
            raise ValueError(f"tick_ns is {tick_ns}: need nanoseconds, at least 1.")
        self.inertial = (inertial or inertial_filter()).double()
        self.wheeled = (wheeled or wheeled_filter()).double()
        self.tick_ns = tick_ns
        self.requires_grad_(False)

    def begin(self, start: Navigation, deviations: Start) -> BankState:
        """Return filters that stand where each body is thought to be, (B, ...) float64, and are so sure of it."""
        every = Navigation(*(part.repeat(SIGHTED, *[1] * (part.ndim - 1)) for part in start))
        return BankState(self.inertial.aligned(*every[:3], deviations), self.wheeled.aligned(*start[:3], deviations))

    def each(self, state: BankState) -> Navigation:
        """Return the members' estimates now: axes (B, C)."""
        pairs = zip(_parts(state.sighted), _parts(state.blind), strict=True)
        return Navigation(
            *(torch.cat([a.unflatten(0, (SIGHTED, -1)).transpose(0, 1), b[:, None]], 1) for a, b in pairs)
        )

    @torch.no_grad()
    def run(self, rows: dict[str, SensorRows], length_ns: int, state: BankState) -> tuple[Navigation, BankState]:
        """Filter a batch of windows.

        Args:
            rows: As `ready` makes them.
            length_ns: Of the window.
            state: At its start.

        Returns:
            The members' estimates at every tick, axes (B, T, C) float64; and the filters at the end.
        """
        track, first = self.inertial.run(blinded(rows), length_ns, state.sighted)
        pseudo = rows | {"imu": unit_of_wheels(rows["wheel"], self.wheeled.gravity)}
        alone, last = self.wheeled.run(pseudo, length_ns, state.blind)
        ticks = rows["query"].stamps
        members = [
            part.unflatten(0, (SIGHTED, -1)).movedim(0, 2) for part in at_moments(track, ticks.repeat(SIGHTED, 1))
        ]
        others = [part.unsqueeze(2) for part in at_moments(alone, ticks)]
        return Navigation(*(torch.cat(pair, 2) for pair in zip(members, others, strict=True))), BankState(first, last)


def ready(window: SensorWindow, tick_ns: int) -> dict[str, SensorRows]:
    """Return the rows of the three sensors, empty where one is missing, with `rolling` and `query` at every tick."""
    like = next(iter(window.streams.values()))
    widths = {"imu": 6, "gnss": 3, "wheel": 2}
    rows = {name: window.streams.get(name, _nothing(like, width)) for name, width in widths.items()}
    rows = {name: one if one.mask.shape[1] else _nothing(like, widths[name]) for name, one in rows.items()}
    stamps = torch.arange(tick_ns, window.length_ns + 1, tick_ns, device=like.stamps.device)
    stamps = stamps.expand(len(window), -1).contiguous()
    there, gaps = torch.ones_like(stamps, dtype=torch.bool), torch.ones_like(stamps, dtype=torch.float32)
    for name, width in (("rolling", 2), ("query", 0)):
        rows[name] = SensorRows(like.values.new_zeros(*stamps.shape, width), there, gaps, stamps)
    return rows


def blinded(rows: Mapping[str, SensorRows]) -> dict[str, SensorRows]:
    """Return the rows of the members that see the inertial unit, one behind the other, (3 B, T, ...)."""
    blind = {"gnss": (1,), "wheel": (2,)}
    return {name: _repeat(one, blind.get(name, ())) for name, one in rows.items()}


def unit_of_wheels(wheel: SensorRows, gravity: float) -> SensorRows:
    """Return what an inertial unit would read on level ground, by the wheels' v and w: (B, T, 6)."""
    speed, rate = wheel.values.unbind(-1)
    none = torch.zeros_like(speed)
    values = torch.stack([none, none, rate, none, speed * rate, none + gravity], -1)
    return replace(wheel, values=values, observed=None)


def _nothing(like: SensorRows, width: int) -> SensorRows:
    values = like.values.new_zeros(len(like.values), 1, width)
    none = torch.zeros_like(values[..., 0])
    return SensorRows(values, none.bool(), none, none.long())


def _repeat(rows: SensorRows, blind: tuple[int, ...]) -> SensorRows:
    """Rows for every member that sees the inertial unit; the blind ones get none."""
    there = torch.ones(SIGHTED, 1, 1, dtype=torch.bool, device=rows.mask.device)
    there[list(blind)] = False
    mask = (rows.mask & there).flatten(0, 1)
    values, gaps, stamps = (
        part.repeat(SIGHTED, *[1] * (part.ndim - 1)) for part in (rows.values, rows.gaps, rows.stamps)
    )
    observed = None if rows.observed is None else rows.observed.repeat(SIGHTED, 1, 1)
    return SensorRows(values, mask, gaps, stamps, observed)


def at_moments(track: NavigationTrack, stamps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Quaternion, velocity, position and covariance (B, T, ...) at stamps that are moments of the track."""
    place = track.at(stamps).clamp_min(0)
    parts = (track.quaternion, track.velocity, track.position, track.covariance[..., _PARTS, _PARTS])
    quaternion, velocity, position, covariance = (
        part.gather(1, place.view(*place.shape, *[1] * (part.ndim - 2)).expand(*place.shape, *part.shape[2:]))
        for part in parts
    )
    return quaternion, velocity, position, covariance


def _parts(state: NavigationState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return state.quaternion, state.velocity, state.position, state.covariance[..., _PARTS, _PARTS]
