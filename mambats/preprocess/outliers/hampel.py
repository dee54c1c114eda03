"""Values far from the median of their neighbours."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.preprocess.carried import Array, Values
from mambats.preprocess.signal.slide import median_of, median_windows, sum_windows
from mambats.preprocess.signal.window import Windowed

GAUSSIAN = 1.4826  # deviation of a normal distribution by its median absolute deviation: 1 / Phi^-1(3/4)


class Hampel(Windowed):
    """Replace values that are further from their window's median than so many robust deviations.

    |x - median| > threshold * max(1.4826 MAD, floor); MAD is the median of |x - median| over the window.

    Args:
        width: Rows of the window, odd.
        threshold: Deviations; 3 takes 0.3 % of clean normal values too.
        centred: Read half a window of the future (the delay of a stream); otherwise only the past.
        replace: By the `median`, or by `absent` (NaN).
        floor: Smallest deviation, in the unit of the values: where over half of a window is one and the same number
            MAD is 0, and any other would be an outlier.

    Source: Pearson et al., Generalized Hampel filters, EURASIP JASP 2016.
    """

    def __init__(
        self,
        width: int = 11,
        threshold: float = 3.0,
        centred: bool = False,
        replace: Literal["median", "absent"] = "median",
        floor: float = 0.0,
    ) -> None:
        super().__init__(width, centred)
        if not threshold > 0 or floor < 0 or replace not in ("median", "absent"):
            raise ValueError(
                f"threshold is {threshold}, floor {floor}, replace {replace!r}: needed above 0, from 0 on, "
                "and 'median' or 'absent'."
            )
        self.threshold = threshold
        self.replace = replace
        self.floor = floor

    def compute(self, joined: Values) -> Values:
        """Return the middle of each window, replaced where it is an outlier."""
        rows = joined.shape[-2] - self.width + 1
        first = self.width - 1 - self.delay
        middle = joined[..., first : first + rows, :]
        median = median_windows(joined, self.width)
        far = np.abs(middle - median)
        outlier = far > self.threshold * self.floor
        if outlier.any():
            outlier &= self._beyond(joined, median, far / (self.threshold * GAUSSIAN))
        return np.where(outlier, median if self.replace == "median" else np.nan, middle)

    def _beyond(self, joined: Values, median: Values, radius: Values) -> Array:
        """Tell where MAD < radius, by counting: so it is where over half of the window is within the radius."""
        rows = median.shape[-2]
        within = np.zeros(median.shape, dtype=np.int32)
        for offset in range(self.width):
            within += np.abs(joined[..., offset : offset + rows, :] - median) < radius
        beyond = within > self.width // 2
        holes = np.isnan(joined)
        if not math.isfinite(joined.sum()):
            touched = sum_windows(holes.astype(np.float64), self.width) > 0
            windows = np.lib.stride_tricks.sliding_window_view(joined, self.width, axis=-2)[touched]
            beyond[touched] = median_of(np.abs(windows - median[touched][:, None])) < radius[touched]
        return beyond


def flag(values: Array, cleaned: Array) -> npt.NDArray[np.bool_]:
    """Tell which present values a cleaner took away or replaced, the shape of both."""
    return ~np.isnan(values) & ~(values == cleaned)
