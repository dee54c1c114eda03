"""How long answers took, counted in bins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BINS_A_DECADE = 48  # a bin is 4.9 % wide: a quantile taken at its middle is off by 2.4 % at most
_DECADES = (-1, 9)  # of microseconds: a tenth of one to a quarter of an hour


@dataclass
class Latency:
    """Latencies counted in bins as wide as they are long, so that a run of days takes no more room than a second.

    Args:
        counts: Of each bin, shape (bins,); those below and above all bins are in the first and the last.
        largest: Longest one seen, microseconds; 0 where there is none.

    Example:
        latency = Latency()
        latency.add(41.5)
        latency.quantile(0.99)  # microseconds
    """

    counts: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((_DECADES[1] - _DECADES[0]) * BINS_A_DECADE, dtype=np.int64)
    )
    largest: float = 0.0

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Edges of the bins in microseconds, shape (bins + 1,)."""
        return np.logspace(*_DECADES, len(self.counts) + 1)

    def add(self, microseconds: float) -> None:
        """Count one; what is no number above zero counts in the first bin, as a clock that stood still tells it."""
        place = 0
        if microseconds > 0 and math.isfinite(microseconds):
            place = int((math.log10(microseconds) - _DECADES[0]) * BINS_A_DECADE)
            self.largest = max(self.largest, microseconds)
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1

    def quantile(self, share: float) -> float:
        """Return the latency that a share of all stays below, in microseconds, to 2.4 %; NaN where there is none."""
        total = int(self.counts.sum())
        if not total:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return min(float(np.sqrt(self.edges[place] * self.edges[place + 1])), self.largest)

    def content(self) -> dict[str, Any]:
        """Return what `latency.json` holds."""
        kept = np.flatnonzero(self.counts)
        return {
            "unit": "us",
            "bins_a_decade": BINS_A_DECADE,
            "first_decade": _DECADES[0],
            "bins": len(self.counts),
            "counts": {str(place): int(self.counts[place]) for place in kept},
            "largest": self.largest,
        }

    @staticmethod
    def read(content: Mapping[str, Any]) -> Latency:
        """Return latencies from what `content` gave.

        Raises:
            ValueError: If it was counted in other bins, or is no such content.
        """
        made = Latency()
        known = (content.get("unit"), content.get("bins_a_decade"), content.get("first_decade"), content.get("bins"))
        if known != ("us", BINS_A_DECADE, _DECADES[0], len(made.counts)):
            raise ValueError(f"latencies are counted in bins {known}: this version reads its own only.")
        for place, count in content["counts"].items():
            made.counts[int(place)] = int(count)
        made.largest = float(content["largest"])
        return made
