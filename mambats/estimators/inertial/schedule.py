"""The moments of a batch of windows: which sensors measured when, and what the inertial unit read in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.inertial.motion import Interval, sum_readings
from mambats.estimators.inertial.state import NavigationState
from mambats.preprocess.imu import Preintegrated
from mambats.series import SensorRows

_NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Readings:
    """Measurements of one stream at the moments.

    Args:
        values: Shape (B, K, m).
        there: Which exist, shape (B, K) bool.
        late: Seconds by which a measurement is older than its moment, shape (B, K).
        inertial: What the inertial unit read meanwhile, shape (B, K, 6).
        busy: By moment, whether any body measured.
    """

    values: Tensor
    there: Tensor
    late: Tensor
    inertial: Tensor
    busy: list[bool]


@dataclass(frozen=True)
class Schedule:
    """Moments of B bodies, K each, with all that happens at and between them.

    Args:
        stamps: Shape (B, K) int64 nanoseconds, rising; padded with the window's end.
        mask: Which moments are there, shape (B, K) bool.
        intervals: K + 1 of them: before each moment, and from the last to the window's end.
        streams: Readings by stream.
    """

    stamps: Tensor
    mask: Tensor
    intervals: list[Interval]
    streams: Mapping[str, Readings]


class Pieces(NamedTuple):
    """What the inertial unit read in each of J intervals, as `sum_readings` takes it."""

    values: Tensor  #: (B, J, L, 6)
    dt: Tensor  #: (B, J, L) seconds that each holds within the interval, 0 where there is none
    last: Tensor  #: (B, J, 6) at the interval's end
    guessed: Tensor | None  #: (B, J, L) bool

    def sums(self, bias: Tensor) -> list[Interval]:
        """Sum them, all intervals side by side, at a bias (B, 6); return one of B for each interval."""
        shape = self.dt.shape[:2]
        values, dt, last = (part.flatten(0, 1) for part in self[:3])
        guessed = None if self.guessed is None else self.guessed.flatten(0, 1)
        summed = sum_readings(values, dt, bias[:, None].expand(-1, shape[1], -1).reshape(-1, 6), last, guessed)
        motion = zip(*(part.unflatten(0, shape).unbind(1) for part in summed.motion), strict=True)
        rest = zip(*(part.unflatten(0, shape).unbind(1) for part in summed[1:]), strict=True)
        return [Interval(Preintegrated(*m), *parts) for m, parts in zip(motion, rest, strict=True)]


class Layout(NamedTuple):
    """A schedule whose moments and intervals lie behind one another, (B, K, ...): what `Schedule` is made of.

    Args:
        stamps: Shape (B, K) int64.
        mask: Which moments are there, shape (B, K) bool.
        pieces: Of all K + 1 intervals.
        streams: By stream: values (B, K, m), there (B, K), late (B, K), inertial (B, K, 6), as `Readings` has them.
    """

    stamps: Tensor
    mask: Tensor
    pieces: Pieces
    streams: Mapping[str, tuple[Tensor, Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class _Held:
    """The inertial unit's readings (B, 1 + T, 6) with what was held before, when each began, and which are guesses."""

    values: Tensor
    stamps: Tensor
    guessed: Tensor | None

    @classmethod
    def of(cls, rows: SensorRows, state: NavigationState) -> _Held:
        # A row that says nothing, wherever it stands, leaves the one before it holding.
        there = rows.mask & torch.isfinite(rows.values).all(-1)
        stamps, order = torch.where(there, rows.stamps, _NEVER).sort(dim=1, stable=True)
        guessed = None
        if rows.observed is not None:
            guessed = torch.nn.functional.pad((~rows.observed).any(-1).gather(1, order), (1, 0))
        values = rows.values.gather(1, order[..., None].expand_as(rows.values))
        values = torch.where((stamps < _NEVER)[..., None], values, 0.0).to(state.reading.dtype)
        start = torch.full_like(stamps[:, :1], -_NEVER)
        return cls(torch.cat([state.reading[:, None], values], 1), torch.cat([start, stamps], 1).contiguous(), guessed)

    def place(self, stamps: Tensor) -> Tensor:
        """Which reading is held at stamps (B, Q)."""
        return torch.searchsorted(self.stamps, stamps.contiguous(), right=True) - 1

    def at(self, stamps: Tensor) -> Tensor:
        """The readings held at stamps, (B, Q, 6)."""
        return self.values.gather(1, self.place(stamps)[..., None].expand(-1, -1, 6))

    def pieces(self, edges: Tensor, dtype: torch.dtype, fixed: bool) -> Pieces:
        """Cut readings at edges (B, K + 2)."""
        places = self.place(edges)
        first, last = places[:, :-1], places[:, 1:]
        longest = self.values.shape[1] if fixed else int((last - first).max()) + 1
        which = first[..., None] + torch.arange(longest, device=edges.device)
        inside = which <= last[..., None]
        which = torch.minimum(which, last[..., None]).flatten(1)
        begins = self.stamps.gather(1, which).view(*first.shape, longest)
        begins = torch.maximum(begins, edges[:, :-1, None])
        ends = torch.cat([begins[..., 1:], edges[:, 1:, None]], -1)
        ends = torch.where(inside.roll(-1, -1) & inside, ends, edges[:, 1:, None])
        dt = torch.where(inside, ends - begins, 0).to(dtype) * 1e-9
        values = self.values.gather(1, which[..., None].expand(-1, -1, 6)).view(*dt.shape, 6)
        readings = self.values.gather(1, last[..., None].expand(-1, -1, 6))
        guessed = None if self.guessed is None else self.guessed.gather(1, which).view(dt.shape)
        return Pieces(values, dt, readings, guessed)


def present(rows: SensorRows) -> Tensor:
    """Return which rows exist and were measured whole, (B, T) bool: a row in part unobserved or not finite is not."""
    there = rows.mask if rows.observed is None else rows.mask & rows.observed.all(-1)
    return there & torch.isfinite(rows.values).all(-1)


def centred(rows: SensorRows) -> SensorRows:
    """Return rows that begin half a period before their stamps: readings of an instant, that hold around it.

    An ideal unit at 200 Hz on a drone so drifts 0.09 m in 20 s, not 1.7 m. It looks half a sample ahead (2.5 ms).
    """
    gaps = (rows.stamps[:, 1:] - rows.stamps[:, :-1]).double()
    both = rows.mask[:, 1:] & rows.mask[:, :-1]
    middle = torch.where(both, gaps, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num(0.0)
    return replace(rows, stamps=rows.stamps - (middle / 2).round().long())


def plan(
    rows: Mapping[str, SensorRows], length_ns: int, state: NavigationState, average: Mapping[str, int]
) -> Schedule:
    """Lay out a window.

    Args:
        rows: By stream, `imu` among them; a stream of no channels asks for the state at its moments.
        length_ns: Of the window.
        state: At its start.
        average: Nanoseconds over which rows of a stream are averaged into one.
    """
    made = lay_out(rows, length_ns, state, average)
    busy = {name: there.any(0).tolist() for name, (_, there, _, _) in made.streams.items()}
    streams = {name: Readings(*parts, busy[name]) for name, parts in made.streams.items()}
    return Schedule(made.stamps, made.mask, made.pieces.sums(state.bias.detach()), streams)


def lay_out(
    rows: Mapping[str, SensorRows],
    length_ns: int,
    state: NavigationState,
    average: Mapping[str, int],
    fixed: bool = False,
) -> Layout:
    """Lay out a window, moments behind one another.

    Args:
        rows: As of `plan`.
        length_ns: Of the window.
        state: At its start.
        average: As of `plan`.
        fixed: Make as many moments as rows could need, so that no shape depends on numbers: a graph needs that. Every
            stream then has a row or more, if only a masked one; and all bodies have the moments of the first, which
            has every row that any of them has.
    """
    held = _Held.of(rows["imu"], state)
    streams = {
        name: _collect(one, held, average.get(name), state, length_ns) for name, one in rows.items() if name != "imu"
    }
    stamps, mask = _moments([one[0] for one in streams.values()], length_ns, state, fixed)
    end = torch.full_like(stamps[:, :1], length_ns) if fixed else stamps.new_full((len(stamps), 1), length_ns)
    edges = torch.cat([torch.zeros_like(end), stamps, end], 1)
    made = {name: _place(*one, stamps, mask) for name, one in streams.items() if rows[name].values.shape[-1]}
    return Layout(stamps, mask, held.pieces(edges, state.bias.dtype, fixed), made)


def _collect(
    rows: SensorRows, held: _Held, average: int | None, state: NavigationState, length_ns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return stamps (B, T), where not there the largest; values with inertial readings (B, T, m + 6); late (B, T)."""
    there = present(rows)
    stamps = torch.where(there, rows.stamps, _NEVER)
    values = torch.cat([rows.values.to(state.reading.dtype), held.at(stamps)], -1)
    values = torch.where(there[..., None], values, 0.0)
    if average is None or stamps.shape[1] == 0:
        stamps, order = stamps.sort(dim=1, stable=True)
        values = values.gather(1, order[..., None].expand_as(values))
        return stamps, values, torch.zeros_like(values[..., 0])
    cell = torch.where(there, (rows.stamps + average - 1) // average, 0)
    cells = -(-length_ns // average) + 1
    count = values.new_zeros(len(cell), cells).scatter_add(1, cell, there.to(values.dtype))
    last = torch.full_like(cell[:, :1], -1).repeat(1, cells)
    last = last.scatter_reduce(1, cell, torch.where(there, rows.stamps, -1), "amax")
    age = torch.where(there, (last.gather(1, cell) - rows.stamps).to(values.dtype) * 1e-9, 0.0)
    wide = torch.cat([values, age[..., None]], -1)
    sums = wide.new_zeros(len(cell), cells, wide.shape[-1])
    sums = sums.scatter_add(1, cell[..., None].expand_as(wide), wide) / count.clamp_min(1)[..., None]
    stamps = torch.where(count > 0, last, _NEVER).sort(dim=1, stable=True)
    sums = sums.gather(1, stamps.indices[..., None].expand_as(sums))
    return stamps.values, sums[..., :-1], sums[..., -1]


def _moments(clocks: Sequence[Tensor], length_ns: int, state: NavigationState, fixed: bool) -> tuple[Tensor, Tensor]:
    """Return the moments of each body, (B, K), and which are there.

    Bodies on one clock share a moment even where one of them lost a measurement, so that few moments have much to do;
    bodies on clocks of their own are each at their own k-th moment. The shorter of the two is taken.
    """
    batch = len(state.bias)
    if not clocks:
        none = torch.zeros(batch, 0, dtype=torch.int64, device=state.bias.device)
        return none, none.bool()
    every = torch.cat(list(clocks), 1).sort(1).values
    first = torch.ones_like(every[:, :1], dtype=torch.bool)
    again = ~torch.cat([first, every[:, 1:] != every[:, :-1]], 1)
    own = torch.where(again, _NEVER, every).sort(1).values
    if fixed:
        own = own[:1].expand(batch, -1)
        return torch.where(own < _NEVER, own, length_ns), own < _NEVER
    own = own[:, : int((own < _NEVER).sum(1).max())]
    shared = own.unique()
    shared = shared[shared < _NEVER]
    if 0 < len(shared) <= 2 * own.shape[1]:
        own = shared.expand(batch, -1)
        ours = torch.stack([_found(clock, own)[1] for clock in clocks]).any(0)
    else:
        ours = own < _NEVER
    return torch.where(own < _NEVER, own, length_ns).contiguous(), ours


def _found(clock: Tensor, stamps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row of each stamp in a clock (B, T), and whether it is there."""
    if clock.shape[1] == 0:
        return torch.zeros_like(stamps), torch.zeros_like(stamps, dtype=torch.bool)
    row = torch.searchsorted(clock.contiguous(), stamps.contiguous()).clamp_max(clock.shape[1] - 1)
    return row, clock.gather(1, row) == stamps


def _place(
    clock: Tensor, values: Tensor, late: Tensor, stamps: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put a stream's rows to their moments."""
    row, there = _found(clock, stamps)
    there = there & mask
    if clock.shape[1] == 0:
        empty = values.new_zeros(*stamps.shape, values.shape[-1])
        return empty[..., :-6], there, empty[..., 0], empty[..., -6:]
    placed = values.gather(1, row[..., None].expand(-1, -1, values.shape[-1]))
    return placed[..., :-6], there, late.gather(1, row), placed[..., -6:]
