"""A sensor that repeats itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mambats.preprocess.carried import Array, Carried, Values, finite, give, hold


class Repeats(NamedTuple):
    """Last present value (*batch, C), NaN before the first, and how many in a row did not move (*batch, C)."""

    value: Values
    run: Values


class Stuck(Carried[Repeats]):
    """Take values away (NaN) from the one on that makes so many in a row without a move.

    Causal: the first `rows - 1` of a run are out before it is known. Absent values neither count nor end a run.

    Args:
        rows: Values in a row, from 2 on. A quantised signal repeats itself: choose more than it does when healthy.
        tolerance: Largest change to the value before that is no move, in the unit of the values.
    """

    def __init__(self, rows: int, tolerance: float = 0.0) -> None:
        if rows < 2 or tolerance < 0:
            raise ValueError(f"rows is {rows} and tolerance {tolerance}, needed from 2 and from 0 on.")
        self.rows = rows
        self.tolerance = tolerance

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> Repeats:
        """Return the state before any row."""
        return Repeats(np.full((*batch, channels), np.nan), np.zeros((*batch, channels)))

    def transform(self, values: Array, state: Repeats, gaps: Array | None = None) -> tuple[Array, Repeats]:
        """Gate one chunk; see `Carried`."""
        exact, absent = finite(values)
        if not exact.size:
            return give(exact.copy(), values), state
        held = hold(exact, state.value)
        before = np.concatenate([state.value[..., None, :], held[..., :-1, :]], axis=-2)
        present = np.ones(exact.shape, dtype=bool) if absent is None else ~absent
        moved = present & ~(np.abs(exact - before) <= self.tolerance)
        seen = np.cumsum(present, axis=-2)
        begun = np.maximum.accumulate(np.where(moved, seen - 1.0, -state.run[..., None, :]), axis=-2)
        count = seen - begun
        made = np.where(count >= self.rows, np.nan, exact)
        return give(made, values), Repeats(held[..., -1, :].copy(), count[..., -1, :])
