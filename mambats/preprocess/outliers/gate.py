"""Values that a sensor cannot measure, and changes that the world cannot make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mambats.preprocess.carried import Array, Carried, Values, finite, give
from mambats.preprocess.signal.recursive import elapsed

ROUNDING = 1 + 1e-9  # a change of exactly the limit passes, whatever its last digits


class RangeGate(Carried[None]):
    """Take away what lies outside of a range; no memory.

    Args:
        low: Smallest value, in the unit of the values, one for all channels or one each.
        high: Largest value, likewise.
        replace: `absent` makes it NaN, `clamp` puts it on the border (a saturated sensor did measure something).
    """

    def __init__(
        self,
        low: float | Sequence[float],
        high: float | Sequence[float],
        replace: Literal["absent", "clamp"] = "absent",
    ) -> None:
        self.low = np.asarray(low, dtype=np.float64)
        self.high = np.asarray(high, dtype=np.float64)
        if not (self.low < self.high).all() or replace not in ("absent", "clamp"):
            raise ValueError(f"low {low} must be below high {high}, and replace ({replace!r}) 'absent' or 'clamp'.")
        self.replace = replace

    @classmethod
    def fit(cls, values: Array, share: float = 1e-4, margin: float = 0.5) -> RangeGate:
        """Learn the range of each channel from clean rows (..., T, C): what is seen, and some more.

        Args:
            values: Rows to learn from; what is not finite is left out.
            share: Of the values at either end that may be outliers all the same, and are not believed.
            margin: Widening on either side, as a share of the range.

        Raises:
            ValueError: If a channel has under two different values.
        """
        exact = finite(values)[0].reshape(-1, np.shape(values)[-1])
        low, high = np.nanquantile(exact, [share, 1 - share], axis=0)
        if not (low < high).all():
            at = int((~(low < high)).argmax())
            raise ValueError(f"channel {at} does not move in the {len(exact)} rows given: set its range by hand.")
        wider = margin * (high - low)
        return cls((low - wider).tolist(), (high + wider).tolist())

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> None:
        """Return the state, which is none."""

    def transform(self, values: Array, state: None, gaps: Array | None = None) -> tuple[Array, None]:
        """Gate one chunk; see `Carried`."""
        exact, _ = finite(values)
        if self.replace == "clamp":
            return give(np.clip(exact, self.low, self.high), values), None
        with np.errstate(invalid="ignore"):
            inside = (exact >= self.low) & (exact <= self.high)
        return give(np.where(inside, exact, np.nan), values), None


class Accepted(NamedTuple):
    """Last value that passed (*batch, C), NaN before the first, and seconds since then (*batch, C)."""

    value: Values
    age: Values


class RateGate(Carried[Accepted]):
    """Take away (NaN) what differs from the last accepted value by more than the limit times the time since then.

    What is allowed grows while values are refused, so a true step comes through after step / limit seconds. The first
    value of a channel is accepted.

    Args:
        limit: Fastest change, units a second, one for all channels or one each.
        rate: Rows a second where no gaps are given, Hz.
    """

    def __init__(self, limit: float | Sequence[float], rate: float = 1.0) -> None:
        self.limit = np.asarray(limit, dtype=np.float64)
        if not (self.limit > 0).all() or not rate > 0:
            raise ValueError(f"limit is {limit} and rate {rate}, needed above 0.")
        self.rate = rate

    @classmethod
    def fit(cls, values: Array, rate: float, share: float = 1e-3, factor: float = 3.0) -> RateGate:
        """Learn the fastest change of each channel from clean, regular rows (..., T, C).

        Args:
            values: Rows to learn from, `rate` a second; changes from or to what is absent are left out.
            rate: Rows a second, Hz.
            share: Of the changes that may be outliers all the same, and are not believed.
            factor: How much faster than what is seen is allowed.

        Raises:
            ValueError: If a channel never changes.
        """
        exact = finite(values)[0]
        steps = np.abs(np.diff(exact, axis=-2)).reshape(-1, exact.shape[-1])
        limit = np.nanquantile(steps, 1 - share, axis=0) * rate * factor if len(steps) else np.zeros(exact.shape[-1])
        if not (limit > 0).all():
            raise ValueError(f"channel {int((~(limit > 0)).argmax())} does not move in the rows given: set its limit.")
        return cls(limit.tolist(), rate)

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> Accepted:
        """Return the state before any row."""
        return Accepted(np.full((*batch, channels), np.nan), np.zeros((*batch, channels)))

    def transform(self, values: Array, state: Accepted, gaps: Array | None = None) -> tuple[Array, Accepted]:
        """Gate one chunk; see `Carried`."""
        exact, _ = finite(values)
        if not exact.size:
            return give(exact.copy(), values), state
        since, _ = elapsed(np.zeros(exact.shape, dtype=bool), gaps, self.rate, np.zeros_like(state.age))
        if exact.shape[-2] == 1:
            return self._row(exact, since[..., 0, :] + state.age, values, state)
        limits = np.broadcast_to(self.limit * ROUNDING, state.value.shape)
        made, value, age = exact.copy(), state.value.copy(), state.age.copy()
        for at in np.ndindex(state.value.shape):
            column = (*at[:-1], slice(None), at[-1])
            clock = np.concatenate([[0.0], np.cumsum(since[column]) + age[at]])
            refused = _refused(np.concatenate([[value[at]], exact[column]]), clock, float(limits[at]))
            made[column][refused] = np.nan
            kept = np.flatnonzero(~np.isnan(made[column]))
            last = int(kept[-1]) + 1 if kept.size else 0
            value[at] = made[column][last - 1] if last else value[at]
            age[at] = clock[-1] - clock[last] if last or not np.isnan(value[at]) else 0.0
        return give(made, values), Accepted(value, age)

    def _row(self, exact: Values, age: Values, values: Array, state: Accepted) -> tuple[Array, Accepted]:
        """Gate one row, all channels at once."""
        row, fresh = exact[..., 0, :], np.isnan(state.value)
        moved = np.abs(row - state.value) <= self.limit * ROUNDING * age
        accepted = np.where(fresh, ~np.isnan(row), moved)
        value = np.where(accepted, row, state.value)
        age = np.where(accepted | np.isnan(value), 0.0, age)
        return give(np.where(accepted, row, np.nan)[..., None, :], values), Accepted(value, age)


def _refused(values: Values, clock: Values, limit: float) -> Array:
    """Return rows to refuse of values (T + 1,), whose first is the last accepted one or NaN; numbered without it."""
    present = np.flatnonzero(~np.isnan(values))
    level, when = values[present], clock[present]
    jumps = np.flatnonzero(np.abs(np.diff(level)) > limit * np.diff(when))
    refused, base = list[int](), 0
    for jump in jumps:
        if jump < base:
            continue
        base = _first_back(level, when, int(jump), limit)
        refused += range(jump + 1, base)
    return present[refused] - 1


def _first_back(level: Values, when: Values, base: int, limit: float) -> int:
    """Return the first row after `base` that may follow it, or the number of rows; looks 16 ahead, then 32, 64..."""
    begin, width = base + 1, 16
    while begin < len(level):
        part = slice(begin, begin + width)
        back = np.abs(level[part] - level[base]) <= limit * (when[part] - when[base])
        if back.any():
            return begin + int(back.argmax())
        begin, width = begin + width, width * 2
    return len(level)
