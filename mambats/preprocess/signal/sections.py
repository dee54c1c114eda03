"""Recursive filters as second-order sections, with the state of each section carried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mambats.preprocess.carried import Array, Carried, Values, check_rate, finite, give, hold
from mambats.preprocess.extra import needs

Kind = Literal["lowpass", "highpass", "bandpass", "bandstop"]
Family = Literal["butterworth", "chebyshev1", "chebyshev2", "bessel"]
Initial = Literal["steady", "rest"]


class SectionState(NamedTuple):
    """Memory of each section (sections, *batch, 2, C); last value, NaN before the first, and origin (*batch, C)."""

    memory: Values
    last: Values
    origin: Values


class Sections(Carried[SectionState]):
    """Any recursive filter given as second-order sections, causal.

    An absent value is read as the last one seen; a channel starts at its first value. That value is the origin: its
    distance to each value is filtered, and its own response, which is known exactly, added: so a constant stays one to
    the last digit, and rows before the first value change nothing.

    Args:
        coefficients: One section a row, b0 b1 b2 a0 a1 a2 with a0 = 1, as scipy has it.
        rate: Rows a second, Hz; gaps that differ by over a tenth of a period are refused.
        initial: `steady` starts as if the first value had always been there, `rest` from zero.

    Raises:
        ValueError: If a section is not six finite numbers with a0 = 1, or a pole is not inside the unit circle.
    """

    def __init__(self, coefficients: Sequence[Sequence[float]], rate: float, initial: Initial = "steady") -> None:
        needs("scipy", "robot")
        self.coefficients = np.array(coefficients, dtype=np.float64)
        shape = self.coefficients.shape
        if len(shape) != 2 or shape[1] != 6 or not np.isfinite(self.coefficients).all():
            raise ValueError(f"coefficients have shape {shape}, needed (sections, 6), all finite.")
        if initial not in ("steady", "rest"):
            raise ValueError(f"initial is {initial!r}, needed 'steady' or 'rest'.")
        if (self.coefficients[:, 3] != 1).any() or max(abs(pole) for pole in self.poles) >= 1:
            raise ValueError(
                f"coefficients {self.coefficients.tolist()}: a0 must be 1 and all poles inside the unit circle. Is the "
                "cutoff too near zero for this order? Lower the order or the rate."
            )
        self.rate = rate
        self.initial = initial
        self._gain = float(np.prod(self.coefficients[:, :3].sum(1) / self.coefficients[:, 3:].sum(1)))  # at 0 Hz
        self._plain = [tuple(float(v) for v in row) for row in self.coefficients]

    @property
    def poles(self) -> Array:
        """Poles of all sections in the z plane."""
        return np.concatenate([np.roots(row[3:]) for row in self.coefficients] or [np.zeros(1)])

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> SectionState:
        """Return the state before any row."""
        memory = np.zeros((len(self.coefficients), *batch, 2, channels))
        return SectionState(memory, np.full((*batch, channels), np.nan), np.zeros((*batch, channels)))

    def transform(self, values: Array, state: SectionState, gaps: Array | None = None) -> tuple[Array, SectionState]:
        """Filter one chunk; see `Carried`."""
        from scipy.signal import sosfilt

        check_rate(gaps, self.rate, type(self).__name__)
        exact, absent = finite(values)
        if not exact.size:
            return give(exact, values), state
        held = exact if absent is None else hold(exact, state.last)
        origin = self._origin(held, state)
        made, memory = sosfilt(self.coefficients, self._from(origin, held), axis=-2, zi=state.memory)
        made += self._gain * origin[..., None, :]
        return give(made, values, absent), SectionState(memory, held[..., -1, :].copy(), origin)

    def step(self, row: Array, state: SectionState, gap: Array | float | None = None) -> tuple[Array, SectionState]:
        """Filter one row (*batch, C); scipy's call costs more than the arithmetic, so that is done here."""
        exact = np.asarray(row, dtype=np.float64)
        if gap is not None or not math.isfinite(float(exact.sum() + state.last.sum())):
            return super().step(row, state, gap)
        memory, made = np.empty_like(state.memory), exact - state.origin
        for index, (b0, b1, b2, _, a1, a2) in enumerate(self._plain):
            before, after = state.memory[index], memory[index]
            fed, made = made, b0 * made + before[..., 0, :]
            after[..., 0, :] = b1 * fed - a1 * made + before[..., 1, :]
            after[..., 1, :] = b2 * fed - a2 * made
        return give(made + self._gain * state.origin, row), SectionState(memory, exact, state.origin)

    def _origin(self, held: Values, state: SectionState) -> Values:
        """Return the origins (*batch, C), also of channels that see their first value in this chunk."""
        fresh = np.isnan(state.last)
        if self.initial == "rest" or not fresh.any():
            return state.origin
        first = np.take_along_axis(held, (~np.isnan(held)).argmax(-2)[..., None, :], axis=-2)[..., 0, :]
        return np.where(fresh, np.nan_to_num(first), state.origin)  # NaN where none is seen yet

    def _from(self, origin: Values, held: Values) -> Values:
        """Return distances to the origin; 0, which moves no filter at rest, before the first value."""
        apart = held - origin[..., None, :]
        return apart if math.isfinite(apart.sum()) else np.nan_to_num(apart)
