"""What a window of the last rows says in four numbers a channel: the trees' view of an engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def window_features(values: Float64, rows: int = 30) -> Float64:
    """Return last value, mean, deviation and slope of each channel over the last `rows` rows, and the age.

    Near the start the window is as long as there are rows; with one row deviation and slope are 0.

    Args:
        values: Shape (T, C), without holes.
        rows: Length of the window.

    Returns:
        Shape (T, 4 C + 1), a row for each row: last, mean, population deviation, slope a row; then the row's number
        from 1.
    """
    length = len(values)
    end = np.arange(1, length + 1)
    start = np.maximum(0, end - rows)
    count = (end - start)[:, None].astype(np.float64)
    # Centred first: a sum of squares of large values would lose the small deviations.
    centred = values - values.mean(0)
    place = np.arange(length)[:, None]

    def window_sum(x: Float64) -> Float64:
        total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
        return total[end] - total[start]

    mean = window_sum(centred) / count
    deviation = np.sqrt(np.maximum(window_sum(centred**2) / count - mean**2, 0))
    middle = (start + end - 1)[:, None] / 2
    spread = count * (count**2 - 1) / 12
    moment = window_sum(centred * place) - middle * mean * count
    slope = np.where(spread > 0, moment / np.where(spread > 0, spread, 1), 0)
    return np.concatenate([values, mean + values.mean(0), deviation, slope, end[:, None].astype(np.float64)], axis=1)
