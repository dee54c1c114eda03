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
    """Memory of each section (sections, *batch, 2, C), and the last value seen (*batch, C), NaN before the first."""

    memory: Values
    last: Values


class Sections(Carried[SectionState]):
    """Any recursive filter given as second-order sections, causal.

    An absent value is read as the last one seen; a channel starts at its first value.

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
        self._settled = self._steady_memory() if initial == "steady" else np.zeros((len(self.coefficients), 2))
        self._plain = [tuple(float(v) for v in row) for row in self.coefficients]

    @property
    def poles(self) -> Array:
        """Poles of all sections in the z plane."""
        return np.concatenate([np.roots(row[3:]) for row in self.coefficients] or [np.zeros(1)])

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> SectionState:
        """Return the state before any row."""
        memory = np.zeros((len(self.coefficients), *batch, 2, channels))
        return SectionState(memory, np.full((*batch, channels), np.nan))

    def transform(self, values: Array, state: SectionState, gaps: Array | None = None) -> tuple[Array, SectionState]:
        """Filter one chunk; see `Carried`."""
        from scipy.signal import sosfilt

        check_rate(gaps, self.rate, type(self).__name__)
        exact, absent = finite(values)
        if not exact.size:
            return give(exact, values), state
        held = exact if absent is None else hold(exact, state.last)
        fed, memory = self._begin(held, state)
        made, memory = sosfilt(self.coefficients, fed, axis=-2, zi=memory)
        return give(made, values, absent), SectionState(memory, held[..., -1, :].copy())

    def step(self, row: Array, state: SectionState, gap: Array | float | None = None) -> tuple[Array, SectionState]:
        """Filter one row (*batch, C); scipy's call costs more than the arithmetic, so that is done here."""
        exact = np.asarray(row, dtype=np.float64)
        if gap is not None or not math.isfinite(float(exact.sum() + state.last.sum())):
            return super().step(row, state, gap)
        memory, made = np.empty_like(state.memory), exact
        for index, (b0, b1, b2, _, a1, a2) in enumerate(self._plain):
            before, after = state.memory[index], memory[index]
            fed, made = made, b0 * made + before[..., 0, :]
            after[..., 0, :] = b1 * fed - a1 * made + before[..., 1, :]
            after[..., 1, :] = b2 * fed - a2 * made
        return give(made, row), SectionState(memory, exact)

    def _begin(self, held: Values, state: SectionState) -> tuple[Values, Values]:
        """Return what to feed, (*batch, T, C), and the memory, with channels begun that see their first value here."""
        fresh = np.isnan(state.last)
        if not fresh.any():
            return held, state.memory
        leading = np.isnan(held)
        first = np.take_along_axis(held, (~leading).argmax(-2)[..., None, :], axis=-2)  # NaN where none is seen yet
        first = np.nan_to_num(first) if self.initial == "steady" else np.zeros_like(first)
        settled = self._settled.reshape(-1, *(1,) * (held.ndim - 2), 2, 1) * first
        # A steady filter does not move while it is fed with the value that it was settled on.
        return np.where(leading, first, held), np.where(fresh[..., None, :], settled, state.memory)

    def _steady_memory(self) -> Values:
        from scipy.signal import sosfilt_zi

        return np.asarray(sosfilt_zi(self.coefficients), dtype=np.float64)
