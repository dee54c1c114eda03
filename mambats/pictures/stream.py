"""A streaming run at a glance: outputs over time, packets by their fate, how long answers took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, svg

Numbers = npt.NDArray[np.float64]
Stamps = npt.NDArray[np.int64]
_LINES = ("-", "--", "-.", ":")
#: Units of durations, from how many microseconds on they are used, and how many they are.
_DURATIONS = (
    ("days", 172_800e6, 86_400e6),
    ("hours", 7200e6, 3600e6),
    ("min", 120e6, 60e6),
    ("s", 1e6, 1e6),
    ("ms", 1e3, 1e3),
    ("µs", -math.inf, 1.0),
)
_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"), (1e-3, "milliseconds"))


def draw_curves(stamps: Stamps, curves: Mapping[str, Numbers], *, label: str, steps: bool = False) -> bytes:
    """Draw numbers over time as an SVG.

    Args:
        stamps: Nanoseconds, shape (T,).
        curves: Shape (T,) each by name, NaN where there is none.
        label: Of the vertical axis.
        steps: Whether a value holds until the next one.

    Raises:
        ValueError: If there is no row.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    if not len(stamps):
        raise ValueError(f"{label} has no row: there is nothing to draw.")
    seconds = (stamps - stamps.min()) / 1e9
    factor, unit = next((pair for pair in _UNITS if seconds.max() >= 3 * pair[0]), _UNITS[-1])
    figure = new_figure(9.5, 2.7)
    axes = figure.subplots()
    marker = "o" if len(stamps) <= 30 else None
    for number, (name, values) in enumerate(curves.items()):
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": _LINES[number % 4 if steps else number // 6 % 4],
        }
        look |= {"drawstyle": "steps-post"} if steps else {"marker": marker, "markersize": 3}
        axes.plot(seconds / factor, values, linewidth=1.2, label=name or None, **look)
    axes.set(xlabel=f"{unit} since the first", ylabel=label)
    axes.margins(x=0.01)
    _dress(axes)
    if any(curves):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return svg(figure)


def draw_latency(edges: Numbers, counts: npt.NDArray[np.int64], quantiles: Mapping[str, float]) -> bytes:
    """Draw how often answers took how long, on a logarithmic axis, as an SVG.

    Args:
        edges: Of the bins, microseconds, shape (K + 1,), even in their logarithm.
        counts: Shape (K,).
        quantiles: Lines to draw, microseconds by name.

    Raises:
        ValueError: If nothing was counted.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    kept = np.flatnonzero(counts)
    if not len(kept):
        raise ValueError("no latency was counted: there is nothing to draw.")
    # Bins are fine enough for quantiles; in a picture some thirty are enough.
    width = max(1, round((kept[-1] - kept[0] + 1) / 30))
    first, last = int(kept[0]), int(kept[-1]) + 1
    starts = np.arange(first, last, width)
    sums = np.add.reduceat(counts[first:last], starts - first)
    places = edges[np.append(starts, min(int(starts[-1]) + width, len(edges) - 1))]
    figure = new_figure(9.5, 3.0)
    axes = figure.subplots()
    axes.stairs(sums / counts.sum(), places, fill=True, color="#9CC9E3", edgecolor=COLOURS[0])
    for number, (name, value) in enumerate(quantiles.items()):
        line = _LINES[number % len(_LINES)]
        axes.axvline(value, color="#000000", linestyle=line, linewidth=1.2, label=f"{name}: {duration(value)}")
    axes.set(
        xscale="log", xlabel="latency [µs]", ylabel="share of answers [-]", xlim=(places[0] / 1.3, places[-1] * 1.3)
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _dress(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return svg(figure)


def duration(microseconds: float) -> str:
    """Write a duration with three digits in a unit that suits it, `-` where it is not known."""
    if not math.isfinite(microseconds):
        return "-"
    unit, value = next((unit, microseconds / long) for unit, least, long in _DURATIONS if microseconds >= least)
    digits = max(0, 2 - int(math.log10(max(value, 1.0))))
    return f"{value:,.{digits}f} {unit}"


def _dress(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E8E8E8", linewidth=0.6)
    axes.set_axisbelow(True)
