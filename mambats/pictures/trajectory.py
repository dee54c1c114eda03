"""Where a robot was thought to be: paths with ellipses, errors beside their deviations, what each fault costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, save

Numbers = npt.NDArray[np.float64]
_TRUTH = "#000000"


class Track(NamedTuple):
    """One estimate of a drive."""

    position: Numbers  #: (T, 3) m
    covariance: Numbers  #: (T, 3, 3) of the position, m^2


def draw_trajectory(
    truth: Numbers, tracks: Mapping[str, Track], fixes: Numbers, path: Path | str, *, title: str = ""
) -> Path:
    """Draw a drive from above, with 95 % ellipses along the first track.

    Args:
        truth: Shape (T, 3), m.
        tracks: By name; the first is drawn bold.
        fixes: Satellite fixes, shape (F, 3), m.
        path: PNG to write.
        title: Above the picture.
    """
    low, high = _extent(truth, tracks)
    # As high as the drive is, so that no paper stays empty; 0.8 inches for labels beside, 0.9 for title and labels.
    figure = new_figure(8.0, min(max(7.2 * (high[1] - low[1]) / (high[0] - low[0]) + 0.9, 3.5), 8.5))
    axes = figure.add_subplot()
    axes.plot(fixes[:, 0], fixes[:, 1], ".", color="#B0B0B0", markersize=4, label="satellite fixes", zorder=1)
    axes.plot(truth[:, 0], truth[:, 1], color=_TRUTH, linewidth=2.2, label="truth", zorder=3)
    for number, (name, track) in enumerate(tracks.items()):
        colour, first = COLOURS[number], number == 0
        axes.plot(
            track.position[:, 0], track.position[:, 1], color=colour, label=name, zorder=5 if first else 4,
            linewidth=1.8 if first else 1.2, linestyle="-" if first else "--",
        )  # fmt: skip
        if first:
            _ellipses(axes, track, colour)
    axes.plot(*truth[0, :2], "o", color=_TRUTH, markersize=8, zorder=6)
    axes.plot(*truth[-1, :2], "s", color=_TRUTH, markersize=7, zorder=6)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect("equal")
    axes.set_xlabel("x [m]")
    axes.set_ylabel("y [m]")
    axes.set_title(title or "From above; dot: start, square: end; shaded: 95 % of the first track")
    axes.legend(loc="best", framealpha=0.9)
    return save(figure, path)


def draw_errors(
    time: Numbers,
    errors: Mapping[str, Numbers],
    deviations: Mapping[str, Numbers],
    path: Path | str,
    *,
    title: str = "",
) -> Path:
    """Draw horizontal errors over time, each above the 95 % radius that was claimed.

    Args:
        time: Shape (T,), s.
        errors: Distance to the truth on the floor by name, shape (T,), m.
        deviations: The claimed 95 % radius by name, shape (T,), m.
        path: PNG to write.
        title: Above the picture.
    """
    figure = new_figure(8.0, 4.0)
    axes = figure.add_subplot()
    for number, (name, error) in enumerate(errors.items()):
        colour = COLOURS[number]
        axes.fill_between(time, 0, deviations[name], color=colour, alpha=0.15, linewidth=0)
        axes.plot(time, error, color=colour, linewidth=1.6, label=name)
    top = max(float(np.nanquantile(np.concatenate([*errors.values(), *deviations.values()]), 0.98)), 0.1)
    axes.set_ylim(0, 1.1 * top)
    axes.set_xlim(time[0], time[-1])
    axes.set_xlabel("time [s]")
    axes.set_ylabel("distance to the truth [m]")
    axes.set_title(title or "Error (line) and claimed 95 % (shade)")
    axes.legend(loc="upper left")
    return save(figure, path)


def draw_degradation(table: Mapping[str, Mapping[str, float]], path: Path | str, *, title: str = "") -> Path:
    """Draw what each fault costs as bars side by side, on a logarithmic axis.

    Args:
        table: Error in metres by fault and contestant.
        path: PNG to write.
        title: Above the picture.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    names = list(next(iter(table.values())))
    figure = new_figure(8.0, 0.42 * len(table) + 1.4)
    axes = figure.add_subplot()
    height, rows = 0.8 / len(names), np.arange(len(table))
    for number, name in enumerate(names):
        values = [max(row[name], 1e-3) for row in table.values()]
        axes.barh(rows + (number - (len(names) - 1) / 2) * height, values, height, color=COLOURS[number], label=name)
    axes.set_yticks(rows, list(table))
    axes.invert_yaxis()
    least = min(min(row.values()) for row in table.values())
    axes.set_xscale("log")
    axes.set_xlim(left=max(0.5 * least, 1e-3))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("RMSE of position [m]")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title or "What each fault costs")
    axes.legend(loc="lower right")
    return save(figure, path)


def _ellipses(axes: Any, track: Track, colour: str) -> None:
    """Draw some twenty ellipses that hold 95 % of a normal distribution on the floor."""
    from matplotlib.patches import Ellipse

    for at in np.linspace(0, len(track.position) - 1, 21).round().astype(int):
        values, vectors = np.linalg.eigh(track.covariance[at, :2, :2])
        # 5.99 is the 95 % quantile of chi-square with two degrees of freedom.
        width, height = 2 * np.sqrt(5.991 * np.maximum(values, 0))
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        x, y = (float(v) for v in track.position[at, :2])
        axes.add_patch(Ellipse((x, y), width, height, angle=angle, color=colour, alpha=0.10, zorder=2))


def _extent(truth: Numbers, tracks: Mapping[str, Track]) -> tuple[Numbers, Numbers]:
    """Return corners that show the truth and the first track whole; a track that runs away leaves the picture."""
    first = next(iter(tracks.values())).position
    seen = np.concatenate([truth[:, :2], first[:, :2]])
    low, high = seen.min(0), seen.max(0)
    margin = 0.15 * float((high - low).max()) + 1.0
    return low - margin, high + margin
