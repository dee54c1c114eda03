"""Filters that read the time between rows: exponential smoothing and the derivative."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mambats.preprocess.carried import Array, Carried, Values, finite, give, hold
from mambats.preprocess.extra import needs

# Rows of decays multiplied out at once: (64, 64) weights a channel stay in the cache.
BLOCK = 64


class Past(NamedTuple):
    """Last output (*batch, C), NaN before the first value, and seconds since the last value seen (*batch, C)."""

    value: Values
    age: Values


class Exponential(Carried[Past]):
    """First-order low-pass for any clock: y += (1 - exp(-gap / tau)) (x - y), exact for a value held over its gap.

    The gap of an absent value is added to the next one's. The first value is taken as it is.

    Args:
        time_constant: tau, seconds: after a step of the input 63 % of it is reached.
        rate: Rows a second where no gaps are given, Hz.

    Raises:
        ValueError: If either is not above 0.
    """

    def __init__(self, time_constant: float, rate: float = 1.0) -> None:
        _check_positive(time_constant=time_constant, rate=rate)
        self.time_constant = time_constant
        self.rate = rate

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> Past:
        """Return the state before any row."""
        return Past(np.full((*batch, channels), np.nan), np.zeros((*batch, channels)))

    def transform(self, values: Array, state: Past, gaps: Array | None = None) -> tuple[Array, Past]:
        """Filter one chunk; see `Carried`."""
        exact, absent = finite(values)
        if not exact.size:
            return give(exact.copy(), values), state
        if absent is None and gaps is None and not np.isnan(state.value).any() and not state.age.any():
            return self._regular(exact, values, state)
        absent = np.zeros(exact.shape, dtype=bool) if absent is None else absent
        since, age = elapsed(absent, gaps, self.rate, state.age)
        held = hold(exact, np.zeros_like(state.value))
        log_decay = np.where(absent, 0.0, -since / self.time_constant)
        before = self._begin(held, absent, log_decay, state.value)
        made = smooth(held, log_decay, before)
        unseen = np.isnan(state.value) & absent.all(-2)
        value = np.where(unseen, np.nan, made[..., -1, :])
        return give(made, values, absent), Past(value, age)

    def _regular(self, exact: Values, values: Array, state: Past) -> tuple[Array, Past]:
        """Filter rows that are all there, one period apart."""
        kept = math.exp(-1 / (self.rate * self.time_constant))
        if exact.shape[-2] == 1:
            made = exact + kept * (state.value[..., None, :] - exact)
        else:
            needs("scipy", "robot")
            from scipy.signal import lfilter

            made, _ = lfilter([1 - kept], [1, -kept], exact, axis=-2, zi=kept * state.value[..., None, :])
        return give(made, values), Past(made[..., -1, :].copy(), state.age)

    def _begin(self, held: Values, absent: Array, log_decay: Values, value: Values) -> Values:
        """Let channels take their first value as it is: one that no past is left of."""
        first = (~absent).argmax(-2)[..., None, :]
        fresh = np.isnan(value)[..., None, :] & ~absent.all(-2, keepdims=True)
        if fresh.any():
            kept = np.take_along_axis(log_decay, first, axis=-2)
            np.put_along_axis(log_decay, first, np.where(fresh, -np.inf, kept), axis=-2)
        return np.nan_to_num(value)


class Derivative(Carried[Past]):
    """The change since the last value seen by the time since then: causal, half a gap late; NaN at the first value.

    It amplifies noise: smooth before, or use `SavitzkyGolay(derivative=1)`.

    Args:
        rate: Rows a second where no gaps are given, Hz.
    """

    def __init__(self, rate: float = 1.0) -> None:
        _check_positive(rate=rate)
        self.rate = rate

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> Past:
        """Return the state before any row."""
        return Past(np.full((*batch, channels), np.nan), np.zeros((*batch, channels)))

    def transform(self, values: Array, state: Past, gaps: Array | None = None) -> tuple[Array, Past]:
        """Differentiate one chunk; see `Carried`."""
        exact, absent = finite(values)
        if not exact.size:
            return give(exact.copy(), values), state
        held = hold(exact, state.value)
        since, age = elapsed(np.isnan(exact) if absent is None else absent, gaps, self.rate, state.age)
        before = np.concatenate([state.value[..., None, :], held[..., :-1, :]], axis=-2)
        with np.errstate(invalid="ignore", divide="ignore"):
            made = (exact - before) / since
        return give(made, values), Past(held[..., -1, :].copy(), age)


def _check_positive(**given: float) -> None:
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, needed above 0.")


def elapsed(absent: Array, gaps: Array | None, rate: float, age: Values) -> tuple[Values, Values]:
    """Return seconds since the last present value at each row (*batch, T, C), and after the last row.

    Raises:
        ValueError: If a gap is not above 0; names the row.
    """
    shape = absent.shape
    given = np.full(shape[:-1], 1 / rate) if gaps is None else np.broadcast_to(np.asarray(gaps, float), shape[:-1])
    if not (given > 0).all():
        at = tuple(int(i) for i in np.argwhere(~(given > 0))[0])
        raise ValueError(f"gap of row {at[-1]} is {given[at]} s, needed above 0: sort the rows and drop duplicates.")
    if not absent.any() and not age.any():
        return np.broadcast_to(given[..., None], shape), age
    # Summed from the last present value on, row by row of absence: differences of running sums would lose digits.
    since = np.broadcast_to(given[..., None], shape).copy()
    since[..., 0, :] += age
    for row in np.flatnonzero(absent.any(axis=(*range(absent.ndim - 2), -1))):
        if row + 1 < shape[-2]:
            since[..., row + 1, :] += np.where(absent[..., row, :], since[..., row, :], 0.0)
    return since, np.where(absent[..., -1, :], since[..., -1, :], 0.0)


def smooth(values: Values, log_decay: Values, before: Values) -> Values:
    """Return y_t = a_t y_{t-1} + (1 - a_t) x_t with a = exp(log_decay), all (*batch, T, C); `before` is y_{-1}."""
    made = np.empty_like(values)
    for begin in range(0, values.shape[-2], BLOCK):
        part = slice(begin, begin + BLOCK)
        made[..., part, :] = _smooth_block(values[..., part, :], log_decay[..., part, :], before)
        before = made[..., min(begin + BLOCK, values.shape[-2]) - 1, :]
    return made


def _smooth_block(values: Values, log_decay: Values, before: Values) -> Values:
    """Join neighbours, then pairs, then fours: y_t = level_t y_before + total_t."""
    level, total = np.exp(log_decay), -np.expm1(log_decay) * values
    step = 1
    while step < values.shape[-2]:
        total = np.concatenate(
            [total[..., :step, :], total[..., step:, :] + level[..., step:, :] * total[..., :-step, :]], axis=-2
        )
        level = np.concatenate([level[..., :step, :], level[..., step:, :] * level[..., :-step, :]], axis=-2)
        step *= 2
    return level * before[..., None, :] + total
