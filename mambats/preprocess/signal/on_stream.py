"""A filter applied to a stream of a recording, with a stated policy for clocks that are not regular."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from mambats.preprocess.carried import JITTER, Array, Carried, Values
from mambats.preprocess.signal.band import ZeroPhase
from mambats.series import Stream

Irregular = Literal["refuse", "nominal", "resample"]
SAME = 1e-6  # seconds within which two times are one: above the rounding of a clock, below any sensor's period


class OnStream:
    """Apply a filter to all or some channels of a `Stream`; absent values stay absent.

    Args:
        filter: Any filter of this package.
        irregular: What to do where a gap is over a tenth of a period off the filter's rate. `refuse` names the row.
            `nominal` takes the rows as if they were regular: right for jitter of the stamps, wrong for missing rows.
            `resample` interpolates onto the regular grid, filters, and interpolates back (offline only): right for
            both as long as the gaps are short against what the signal does in them; rows that lie in a gap of over
            `bridge` seconds are absent.
        channels: Names of the channels to filter, the others pass; None for all.
        bridge: Longest gap to interpolate over, seconds.
    """

    def __init__(
        self,
        filter: Carried[Any] | ZeroPhase,
        irregular: Irregular = "refuse",
        channels: Sequence[str] | None = None,
        bridge: float = 1.0,
    ) -> None:
        if irregular not in ("refuse", "nominal", "resample"):
            raise ValueError(f"irregular is {irregular!r}, needed 'refuse', 'nominal' or 'resample'.")
        self.filter = filter
        self.irregular = irregular
        self.channels = channels
        self.bridge = bridge

    def __call__(self, stream: Stream) -> Stream:
        """Filter a whole stream; the covariance is dropped where there was one, for it is no longer white.

        Raises:
            ValueError: If a channel is not there, or the clock is irregular and the policy is to refuse.
        """
        names = tuple(self.channels or stream.channels)
        if lacking := [name for name in names if name not in stream.channels]:
            raise ValueError(f"there is no channel {lacking[0]!r}, channels are {', '.join(stream.channels)}.")
        columns = [stream.channels.index(name) for name in names]
        values = np.array(stream.values)
        if stream.observed is not None:
            values[~stream.observed] = np.nan
        values[:, columns] = self._filter(stream, values[:, columns])
        present = ~np.isnan(values)
        return replace(stream, values=values, observed=None if present.all() else present, covariance=None)

    def _filter(self, stream: Stream, values: Array) -> Array:
        gaps = np.diff(stream.stamps) * 1e-9
        rate: float | None = getattr(self.filter, "rate", None)
        if self.irregular == "nominal":
            return self.filter(values)
        if self.irregular == "resample" and rate is not None and (np.abs(gaps * rate - 1) > JITTER).any():
            return _regular(self.filter, values, (stream.stamps - stream.stamps[0]) * 1e-9, rate, self.bridge)
        # A filter that reads gaps uses them, one made for a rate checks them.
        first = gaps[:1] if rate is None else np.array([1 / rate])
        return self.filter(values, np.concatenate([first, gaps])[: len(values)] if len(gaps) or rate else None)


def _regular(filter: Callable[[Array], Array], values: Array, times: Values, rate: float, bridge: float) -> Array:
    grid = np.arange(int(np.ceil(times[-1] * rate)) + 1) / rate
    there = np.stack([_between(column, times, grid, bridge) for column in values.T], axis=1)
    made = filter(there)
    back = np.stack([_between(column, grid, times, bridge) for column in made.T], axis=1)
    return np.where(np.isnan(values), np.nan, back)


def _between(column: Array, times: Values, wanted: Values, bridge: float) -> Values:
    """Interpolate the present values of one channel; NaN in longer gaps than `bridge`."""
    seen = np.isfinite(column)
    if not seen.any():
        return np.full(len(wanted), np.nan)
    known = times[seen]
    made = np.interp(wanted, known, column[seen])
    if len(known) < 2:
        return made
    after = np.searchsorted(known, wanted).clip(1, len(known) - 1)
    apart = np.minimum(wanted - known[after - 1], known[after] - wanted)  # below 0 outside, where the end is held
    return np.where((known[after] - known[after - 1] > bridge) & (apart > SAME), np.nan, made)
