"""A recording at a glance: every stream in a lane of its own on one time axis, with its rate and its gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.pictures.lanes import Lane, clock_of, lanes_of, thin
from mambats.series import Recording

_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"), (1e-3, "milliseconds"))
WIDTH, LANE, GUTTER, TOP, BOTTOM, RIGHT = 11.0, 0.8, 0.18, 0.35, 0.45, 1.35  # inches
TICKS, LETTER = 0.45, 0.068  # inches: of the numbers on an axis, of a letter of a name
SHOWN = 8  # channels of a lane that are named; more are drawn without a name


def plot_recording(recording: Recording, path: Path | str, *, title: str = "") -> Path:
    """Draw all streams of a recording on one time axis: values, gaps shaded, stamps, rate and gaps in the margin.

    A stream with several units has a lane for each; sweeps and detections show their rows a stamp, pictures a mark
    each; a gap is a pause of more than three median periods. Long streams are thinned to their extremes, so that no
    spike is lost.

    Args:
        recording: With one stream at least.
        path: PNG file; its folder is made.
        title: Above the picture, empty for the recording's name.

    Returns:
        The path.

    Raises:
        ValueError: If the recording has no stamp at all.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    lanes = list(lanes_of(recording))
    ends = [stamp for lane in lanes if len(lane.stamps) for stamp in (int(lane.stamps[0]), int(lane.stamps[-1]))]
    if not ends:
        raise ValueError(f"{recording.name}: has no stream with a stamp, so there is nothing to draw.")
    start, seconds = min(ends), (max(ends) - min(ends)) / 1e9
    factor, unit = next((pair for pair in _UNITS if seconds >= 3 * pair[0]), _UNITS[-1])
    figure, grid = _lanes(lanes)
    for axes, lane in zip(grid, lanes, strict=True):
        _draw_lane(axes, lane, start, factor * 1e9)
    span = seconds / factor or 1.0  # a recording of one moment has no length
    grid[-1].set_xlim(-0.01 * span, 1.01 * span)
    grid[-1].set_xlabel(f"{unit} after {_moment(start)}" if start else unit)
    grid[0].set_title(title or recording.name, fontsize=11)
    return save(figure, path)


def _lanes(lanes: list[Lane]) -> tuple[Any, Any]:
    """Return a figure with axes below one another, their places counted in inches.

    matplotlib's own layout measures every label: 24 lanes took 2.9 s of processor time with it, 2.0 s without.
    """
    heights = [LANE if lane.channels else 0.4 * LANE for lane in lanes]
    height = sum(heights) + GUTTER * (len(lanes) - 1) + TOP + BOTTOM
    figure = new_figure(WIDTH, height, constrained=False)
    grid = figure.subplots(len(lanes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    left = TICKS + 0.1 + LETTER * max(len(lane.name) for lane in lanes)
    space = GUTTER / (sum(heights) / len(heights))
    figure.subplots_adjust(left / WIDTH, BOTTOM / height, 1 - RIGHT / WIDTH, 1 - TOP / height, hspace=space)
    return figure, grid


def _draw_lane(axes: Any, lane: Lane, start: int, scale: float) -> None:
    """Draw one lane; `scale` is nanoseconds a unit of the axis."""
    clock = clock_of(lane.stamps)
    gaps = [(begin, end - begin) for begin, end in (clock.gaps - start) / scale]
    axes.broken_barh(gaps, (0, 1), transform=axes.get_xaxis_transform(), color="#F4B6A6", linewidth=0.8)
    if not lane.channels:
        axes.plot((lane.stamps - start) / scale, np.zeros(len(lane.stamps)), "|", color=COLOURS[0], markersize=9)
        axes.set(ylim=(-1, 1), yticks=[])
    few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(lane.stamps) <= 30 else {}
    for index, channel in enumerate(lane.channels):
        stamps, values = thin(lane.stamps, lane.values[:, index], clock.gaps)
        look = {"color": COLOURS[index % len(COLOURS)], "label": channel if index < SHOWN else None, **few}
        axes.plot((stamps - start) / scale, values, linewidth=0.8, **look)
    axes.set_ylabel(f"{lane.name}\n[{lane.unit}]" if lane.unit else lane.name, rotation=0, ha="right", va="center")
    axes.yaxis.label.set_fontsize(8)
    axes.yaxis.set_label_coords(-TICKS / (axes.get_position().width * WIDTH), 0.5)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    where = {"xycoords": "axes fraction", "va": "center", "annotation_clip": False}
    words = "\n".join([*clock.words, *lane.lost])
    axes.annotate(words, (1.01, 0.5), fontsize=7.5, color="#404040", **where)
    _give_room(axes, lane)


def _give_room(axes: Any, lane: Lane) -> None:
    """Set the vertical axis: counts from zero, and a free strip above for the names of channels."""
    if not lane.channels:
        return
    low, high = axes.get_ylim()
    if lane.counts:
        axes.set_ylim(0, max(1.08 * high, 1.0))
        axes.yaxis.get_major_locator().set_params(integer=True)
    elif len(lane.channels) > 1:
        axes.set_ylim(low, high + 0.3 * (high - low))
        tight = {"handlelength": 1.0, "columnspacing": 0.8, "borderaxespad": 0.0, "frameon": False}
        axes.legend(loc="upper left", ncols=SHOWN, fontsize=6.5, **tight)


def _moment(stamp: int) -> str:
    """Name the start: a date where the clock has one, seconds where it counts from a start of its own."""
    if stamp > 10**18:  # after 2001
        return str(np.datetime64(stamp, "ns").astype("datetime64[ms]")).replace("T", " ") + " UTC"
    return f"{stamp / 1e9:g} s"
