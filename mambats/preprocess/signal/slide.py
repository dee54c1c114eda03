"""Sums and medians of every window of rows, in the same order of operations however the rows are cut into chunks."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from mambats.preprocess.carried import Array, Values
from mambats.preprocess.extra import needs

# Widths up to which a network of comparisons finds medians, all windows of a block at once. On one core, 6 channels,
# millions of rows a second (scipy's median_filter): 25 (1.4) at width 5, 1.9 (0.25) at 21, 0.1 (0.07) at 101.
WIDEST = 101
# Values that a block's wires hold: 1 MB of float64, the fastest of blocks of 128 to 4096 rows at each of these widths.
BLOCK = 1 << 17
# Values below which the windows are sorted one by one: numpy's call costs more than the work then.
FEW = 512


def sum_windows(joined: Values, width: int) -> Values:
    """Sum each window of `width` rows, (..., T + width - 1, C) to (..., T, C).

    Sums of 1, 2, 4... rows are joined, so that each window is added up in the same order however rows are cut into
    chunks: running sums would drift, and differ.
    """
    rows = joined.shape[-2] - width + 1
    made, at, power, size = np.zeros_like(joined[..., :rows, :]), 0, joined, 1
    while True:
        if width & size:
            made = made + power[..., at : at + rows, :]
            at += size
        if at >= width:
            return made
        power = power[..., :-size, :] + power[..., size:, :]
        size *= 2


def median_windows(joined: Values, width: int) -> Values:
    """Take the median of each window of `width` rows (odd), absent values (NaN) left out; NaN where none is seen."""
    rows = joined.shape[-2] - width + 1
    windows = np.lib.stride_tricks.sliding_window_view(joined, width, axis=-2)
    if windows[..., 0].size <= FEW:
        return median_of(windows)
    made = _network_medians(joined, width, rows) if width <= WIDEST else _heap_median(joined, width, rows)
    holes = np.isnan(made)
    if holes.any():
        made[holes] = median_of(windows[holes])
    return made


def median_of(windows: Values) -> Values:
    """Take the median of the present values of each window (..., W); NaN where none is seen."""
    ordered = np.sort(windows, axis=-1)  # NaN last
    width = windows.shape[-1]
    if not np.isnan(ordered[..., -1]).any():
        return (ordered[..., (width - 1) // 2] + ordered[..., width // 2]) / 2
    count = (~np.isnan(windows)).sum(-1)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, width - 1)
    pair = (np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (low, high))
    return np.where(count > 0, sum(pair) / 2, np.nan)


def _network_medians(joined: Values, width: int, rows: int) -> Values:
    size = max(1, BLOCK * rows // (width * max(joined[..., :rows, :].size, 1)))
    blocks = (slice(begin, begin + size + width - 1) for begin in range(0, rows, size))
    parts = [joined[..., block, :] for block in blocks]
    return np.concatenate([_network_median(part, width, part.shape[-2] - width + 1) for part in parts], axis=-2)


def _network_median(joined: Values, width: int, rows: int) -> Values:
    """Sort all windows at once, as far as their medians need it; NaN where a window holds one."""
    wires = [joined[..., offset : offset + rows, :] for offset in range(width)]
    for low, high, keep_low, keep_high in _comparisons(width):
        one, two = wires[low], wires[high]
        if keep_low:
            wires[low] = np.minimum(one, two)
        if keep_high:
            wires[high] = np.maximum(one, two)
    return wires[width // 2].copy()


@functools.cache
def _comparisons(width: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the comparisons of Batcher's network that reach the middle, and which of their outputs do."""
    needed, kept = {width // 2}, list[tuple[int, int, bool, bool]]()
    for low, high in reversed(list(_batcher(width))):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))


def _batcher(count: int) -> Iterator[tuple[int, int]]:
    """Sort `count` wires (Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M)."""
    top = 1 << max((count - 1).bit_length() - 1, 0)
    merge = top
    while merge:
        span, offset, apart = top, 0, merge
        while True:
            yield from ((wire, wire + apart) for wire in range(count - apart) if wire & merge == offset)
            if span == merge:
                break
            apart, span, offset = span - merge, span >> 1, merge
        merge >>= 1


def _heap_median(joined: Values, width: int, rows: int) -> Values:
    needs("scipy", "robot")
    from scipy.ndimage import median_filter

    absent = np.isnan(joined)
    size = (*(1,) * (joined.ndim - 2), width, 1)
    filled: Array = np.where(absent, 0.0, joined)
    made: Values = median_filter(filled, size=size, mode="nearest")[..., width // 2 : width // 2 + rows, :]
    return np.where(sum_windows(absent.astype(np.float64), width) > 0, np.nan, made) if absent.any() else made
