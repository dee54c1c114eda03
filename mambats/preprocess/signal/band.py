"""Low-, high-, band-pass and notch filters by name, causal; and the zero-phase form of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from mambats.preprocess.carried import (
    Array,
    Carried,
    OfflineOnlyError,
    Values,
    check_rate,
    check_rows,
    finite,
    give,
    hold,
)
from mambats.preprocess.extra import needs
from mambats.preprocess.signal.sections import Family, Initial, Kind, Sections, SectionState

FAMILIES = ("butterworth", "chebyshev1", "chebyshev2", "bessel")
KINDS = ("lowpass", "highpass", "bandpass", "bandstop")


class BandFilter(Carried[SectionState]):
    """A low-, high-, band-pass or band-stop filter, causal, made by the bilinear transform.

    Args:
        cutoff: Hz, one for `lowpass` and `highpass`, two rising ones for `bandpass` and `bandstop`: where the gain is
            -3 dB (butterworth, bessel), leaves the ripple (chebyshev1) or reaches the attenuation (chebyshev2).
        rate: Rows a second, Hz.
        kind: What passes.
        order: Of the low-pass prototype, 1 to 12; bands have twice as many poles.
        family: `butterworth` is flat, `bessel` keeps shapes (flattest delay), `chebyshev1` falls fastest with `ripple`
            in the pass band, `chebyshev2` with `attenuation` in the stop band.
        ripple: Of chebyshev1's pass band, dB; with an even order 0 Hz lies at its bottom.
        attenuation: Of chebyshev2's stop band, dB.
        initial: `steady` starts as if the first value had always been there, `rest` from zero.

    Raises:
        ValueError: If the cutoff is not between 0 and half the rate, or a name is not known.

    Source: scipy.signal.butter, cheby1, cheby2, bessel (norm='mag').
    """

    def __init__(
        self,
        cutoff: float | Sequence[float],
        rate: float,
        kind: Kind = "lowpass",
        order: int = 2,
        family: Family = "butterworth",
        ripple: float = 1.0,
        attenuation: float = 40.0,
        initial: Initial = "steady",
    ) -> None:
        edges = [float(edge) for edge in (cutoff if isinstance(cutoff, Sequence) else [cutoff])]
        _check(edges, rate, kind, order, family)
        self.rate = rate
        sections = _design(edges, rate, kind, order, family, (ripple, attenuation))
        self.sections = Sections(sections, rate, initial)

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> SectionState:
        """Return the state before any row."""
        return self.sections.start(channels, batch)

    def transform(self, values: Array, state: SectionState, gaps: Array | None = None) -> tuple[Array, SectionState]:
        """Filter one chunk; see `Carried`."""
        return self.sections.transform(values, state, gaps)

    def step(self, row: Array, state: SectionState, gap: Array | float | None = None) -> tuple[Array, SectionState]:
        """Filter one row (*batch, C)."""
        return self.sections.step(row, state, gap)


class Notch(Carried[SectionState]):
    """Take one frequency out: mains hum, a propeller, a vibrating mast.

    Args:
        frequency: Hz, between 0 and half the rate.
        rate: Rows a second, Hz.
        quality: Frequency over the width of the notch at -3 dB: higher is narrower and rings longer.
        initial: `steady` starts as if the first value had always been there, `rest` from zero.

    Source: scipy.signal.iirnotch.
    """

    def __init__(self, frequency: float, rate: float, quality: float = 30.0, initial: Initial = "steady") -> None:
        needs("scipy", "robot")
        from scipy.signal import iirnotch, tf2sos

        _check([frequency], rate, "lowpass", 1, "butterworth")
        if not quality > 0:
            raise ValueError(f"quality is {quality}, needed above 0: 30 takes a thirtieth of the frequency out.")
        self.rate = rate
        self.sections = Sections(tf2sos(*iirnotch(frequency, quality, fs=rate)).tolist(), rate, initial)

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> SectionState:
        """Return the state before any row."""
        return self.sections.start(channels, batch)

    def transform(self, values: Array, state: SectionState, gaps: Array | None = None) -> tuple[Array, SectionState]:
        """Filter one chunk; see `Carried`."""
        return self.sections.transform(values, state, gaps)

    def step(self, row: Array, state: SectionState, gap: Array | float | None = None) -> tuple[Array, SectionState]:
        """Filter one row (*batch, C)."""
        return self.sections.step(row, state, gap)


class ZeroPhase:
    """Run a filter forwards and backwards: no delay, twice the attenuation; offline only, because it reads the future.

    An absent value is read as the last one before it (the first after it at the start) and stays absent.

    Args:
        filter: `BandFilter`, `Notch` or `Sections`.

    Source: Gustafsson, Determining the initial states in forward-backward filtering, IEEE TSP 1996, as
        scipy.signal.sosfiltfilt has it (odd padding).
    """

    def __init__(self, filter: BandFilter | Notch | Sections) -> None:
        self.sections = filter if isinstance(filter, Sections) else filter.sections
        self.rate = self.sections.rate

    def __call__(self, values: Array, gaps: Array | None = None) -> Array:
        """Filter whole sequences (*batch, T, C)."""
        from scipy.signal import sosfiltfilt

        check_rows(values)
        check_rate(gaps, self.rate, type(self).__name__)
        exact, absent = finite(values)
        rows = exact.shape[-2]
        if rows < 2 or not exact.size:
            return give(exact, values)
        nothing = np.full_like(exact[..., 0, :], np.nan)
        fed = exact if absent is None else hold(hold(exact, nothing)[..., ::-1, :], nothing)[..., ::-1, :]
        fed = fed if absent is None else np.nan_to_num(fed)
        padding = min(3 * (2 * len(self.sections.coefficients) + 1), rows - 1)
        made: Values = sosfiltfilt(self.sections.coefficients, fed, axis=-2, padlen=padding)
        return give(made, values, absent)

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> NoReturn:
        """Refuse to stream."""
        del channels, batch
        raise OfflineOnlyError(
            "ZeroPhase reads the whole sequence backwards, so it cannot stream: use the filter that it was given, or "
            "SavitzkyGolay(centred=True), which is centred with a stated delay."
        )

    def transform(self, values: Array, state: Any, gaps: Array | None = None) -> NoReturn:
        """Refuse to stream."""
        del state, gaps
        self.start(np.shape(values)[-1])

    def step(self, row: Array, state: Any, gap: Array | float | None = None) -> NoReturn:
        """Refuse to stream."""
        del state, gap
        self.start(np.shape(row)[-1])


def _check(edges: list[float], rate: float, kind: str, order: int, family: str) -> None:
    if kind not in KINDS or family not in FAMILIES:
        raise ValueError(f"kind is {kind!r} and family {family!r}, needed one of {KINDS} and one of {FAMILIES}.")
    wanted = 2 if kind.startswith("band") else 1
    if len(edges) != wanted or any(not 0 < edge < rate / 2 for edge in edges) or edges != sorted(set(edges)):
        raise ValueError(
            f"cutoff is {edges} Hz: a {kind} at {rate:g} rows a second needs {wanted}, rising, "
            f"between 0 and half the rate ({rate / 2:g} Hz)."
        )
    if not 1 <= order <= 12:
        raise ValueError(f"order is {order}, needed 1 to 12: chain two filters for more.")


def _design(
    edges: list[float], rate: float, kind: str, order: int, family: str, decibels: tuple[float, float]
) -> list[list[float]]:
    needs("scipy", "robot")
    from scipy import signal

    at: Any = edges[0] if len(edges) == 1 else edges
    made: Any
    if family == "butterworth":
        made = signal.butter(order, at, btype=kind, output="sos", fs=rate)
    elif family == "chebyshev1":
        made = signal.cheby1(order, decibels[0], at, btype=kind, output="sos", fs=rate)
    elif family == "chebyshev2":
        made = signal.cheby2(order, decibels[1], at, btype=kind, output="sos", fs=rate)
    else:
        made = signal.bessel(order, at, btype=kind, norm="mag", output="sos", fs=rate)
    return made.tolist()
