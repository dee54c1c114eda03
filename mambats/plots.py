"""Pictures of a run: forecasts against the truth, error by horizon, training curves.

All are readable in grey (line styles, markers and lightness tell things apart), labelled with units, and written
whole or not at all. matplotlib is loaded when the first picture is drawn and no window is ever opened.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mambats.results import write_whole
from mambats.scale import Scaler
from mambats.series import Stamps

Numbers = npt.NDArray[np.float64]

#: Colours of Okabe and Ito, told apart by the colour-blind; the first, black, is for the model or the truth.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "x")
#: Units of time by nanoseconds, the longest first.
_UNITS = ((86_400_000_000_000, "days"), (3_600_000_000_000, "hours"), (60_000_000_000, "minutes"), (10**9, "seconds"))
_TRAIN: dict[str, Any] = {"color": _COLOURS[1], "linestyle": "-"}
_VAL: dict[str, Any] = {"color": _COLOURS[0], "marker": "o"}
_SMOOTH = 100  # points above which a training curve also shows a running mean


@dataclass(frozen=True)
class ForecastView:
    """One channel of one window, in the data's units.

    Args:
        channel: Name of the channel.
        truth: What was measured, shape (L + K,), NaN where nothing was.
        forecast: Point forecast, shape (K,).
        bands: Lower and upper bound, each (K,), by share of probability inside, e.g. 0.9.
        others: Forecasts to draw beside it, each (K,), by name.
        unit: Unit of the values, empty when unknown.
        stamps: Times in int64 nanoseconds, shape (L + K,), or None to count rows.
    """

    channel: str
    truth: Numbers
    forecast: Numbers
    bands: Mapping[float, tuple[Numbers, Numbers]] = field(default_factory=dict[float, tuple[Numbers, Numbers]])
    others: Mapping[str, Numbers] = field(default_factory=dict[str, Numbers])
    unit: str = ""
    stamps: Stamps | None = None


def view_of(
    values: Tensor,
    forecast: Tensor,
    channel: int,
    scaler: Scaler,
    *,
    quantiles: Sequence[float] | None = None,
    observed: Tensor | None = None,
    others: Mapping[str, Tensor] | None = None,
    unit: str = "",
    stamps: Stamps | None = None,
) -> ForecastView:
    """Return one channel of a scaled window in the data's units.

    Args:
        values: Scaled rows, shape (L + K, C).
        forecast: Scaled forecast, shape (K, C), or (K, C, Q) with quantiles.
        channel: Which channel.
        scaler: What turns scaled values back.
        quantiles: Levels of the forecast, or None for a point forecast.
        observed: Which values exist, shape (L + K, C) bool, or None where all do.
        others: Scaled forecasts to draw beside it, each (K, C), by name.
        unit: Unit of the channel.
        stamps: Times in int64 nanoseconds, shape (L + K,), or None.
    """
    mean, scale = float(scaler.mean[channel]), float(scaler.scale[channel])

    def back(scaled: Tensor) -> Numbers:
        return scaled.detach().cpu().double().numpy() * scale + mean

    truth = back(values[:, channel])
    if observed is not None:
        truth = np.where(observed[:, channel].cpu().numpy(), truth, np.nan)
    point, bands = back(forecast[:, channel]), {}
    if quantiles is not None:
        levels, point = tuple(quantiles), point[:, int(np.argmin(np.abs(np.asarray(quantiles) - 0.5)))]
        columns = back(forecast[:, channel])
        pairs = ((i, j) for i in range(len(levels)) for j in range(i + 1, len(levels)))
        bands = {
            round(levels[j] - levels[i], 6): (columns[:, i], columns[:, j])
            for i, j in pairs
            if math.isclose(levels[i] + levels[j], 1.0, abs_tol=1e-6)
        }
    beside = {name: back(other[:, channel]) for name, other in (others or {}).items()}
    return ForecastView(scaler.channels[channel], truth, point, bands, beside, unit, stamps)


def draw_forecasts(views: Sequence[ForecastView], path: str | Path, *, title: str = "") -> Path:
    """Draw forecasts with their intervals over what was measured, one panel a view.

    Args:
        views: What to draw, a few.
        path: PNG file; its folder is made.
        title: Name of the model and the data.

    Returns:
        The path.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not views:
        raise ValueError("no view was given: choose one window and channel at least.")
    columns = 1 if len(views) <= 3 else 2
    rows = math.ceil(len(views) / columns)
    figure = _figure(5.0 * columns + 4.0 * (columns == 1), 2.5 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, view in zip(grid, views, strict=False):
        _draw_view(axes, view)
    for axes in grid[len(views) :]:
        axes.set_visible(False)
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    where = {"loc": "outside upper center", "ncols": 6, "frameon": False}
    figure.legend(list(handles.values()), list(handles), title=title, **where)
    return _save(figure, path)


def draw_error_by_horizon(
    curves: Mapping[str, Sequence[float]],
    path: str | Path,
    *,
    metric: str = "mean squared error (scaled values)",
    period_ns: int | None = None,
    title: str = "",
) -> Path:
    """Draw the error of each step ahead, a line a model, the first one heaviest.

    The picture ends at 2.5 times the worst error of the first model: what lies above is a poor forecast, and its mean
    stands in the legend.

    Args:
        curves: K errors by model; the first is the model of the run.
        path: PNG file; its folder is made.
        metric: Name and unit of the error.
        period_ns: Time between rows in nanoseconds, or None to count rows.
        title: Name of the data.

    Returns:
        The path.

    Raises:
        ValueError: If there is no curve.
    """
    if not curves:
        raise ValueError("no curve was given: need one model at least.")
    figure = _figure(8.0, 4.2)
    axes = figure.subplots()
    step, unit = _step(period_ns, max(len(curve) for curve in curves.values()))
    for index, (name, curve) in enumerate(curves.items()):
        look, label = _look(index), f"{name}\n(mean {np.mean(curve):.3g})"
        ahead = step * np.arange(1, len(curve) + 1)
        marks = max(1, len(curve) // 8)
        # Markers of different lines stand at different places, so that lines on top of each other are both seen.
        axes.plot(ahead, curve, markevery=(index * marks // 4 % marks, marks), markersize=4, label=label, **look)
    axes.set(xlabel=f"{unit} ahead", ylabel=metric, title=title, xlim=(0, None), ylim=(0, _top(list(curves.values()))))
    # From top to bottom as the lines end.
    lines = sorted(axes.get_lines(), key=lambda line: float(line.get_ydata()[-1]), reverse=True)
    figure.legend(handles=lines, loc="outside right center", frameon=False, handlelength=3.5)
    return _save(figure, path)


def draw_training(metrics: str | Path, path: str | Path, *, title: str = "") -> Path:
    """Draw the curves of a metrics.csv, one panel a metric, training and validation together.

    Args:
        metrics: CSV file with the columns `step` and e.g. `train_loss`, `val_loss`; cells may be empty.
        path: PNG file; its folder is made.
        title: Name of the model and the data.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If there is no metrics file.
        ValueError: If it has no curve of training or validation.
    """
    panels = _read_curves(Path(metrics))
    if not panels:
        raise ValueError(f"{metrics}: no column train_... or val_... with numbers: train for one step at least.")
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure = _figure(4.2 * columns + 1, 3.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, stages) in zip(grid, panels.items(), strict=False):
        _draw_stages(axes, name, stages)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if title:
        figure.suptitle(title)
    return _save(figure, path)


def _draw_view(axes: Any, view: ForecastView) -> None:
    """Draw one window: the past up to two horizons, the truth, the forecast, its intervals."""
    horizon = len(view.forecast)
    lookback = len(view.truth) - horizon
    first = max(0, lookback - 2 * horizon)
    clock: Any = np.arange(-lookback + 1, horizon + 1)
    if view.stamps is not None:
        clock = view.stamps.astype("datetime64[ns]")
    ahead = clock[lookback:]
    for shade, (level, (low, high)) in enumerate(sorted(view.bands.items(), reverse=True)):
        grey = ("#D9E6F0", "#B3CDE0", "#8CB4D0")[min(shade, 2)]
        axes.fill_between(ahead, low, high, color=grey, linewidth=0, label=f"{level:.0%} interval")
    for index, (name, other) in enumerate(view.others.items()):
        axes.plot(ahead, other, label=name, **_look(index + 2) | {"linewidth": 1.0, "marker": None})
    axes.plot(clock[first:], view.truth[first:], color=_COLOURS[0], linewidth=1.2, label="measured")
    axes.plot(ahead, view.forecast, color=_COLOURS[1], linewidth=2.0, linestyle=(0, (3, 1.2)), label="forecast")
    axes.axvline(clock[lookback - 1], color="#7F7F7F", linewidth=0.8)
    axes.annotate("now", (clock[lookback - 1], 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                  textcoords="offset points", fontsize=8, color="#595959")  # fmt: skip
    axes.set_ylabel(f"{view.channel} [{view.unit}]" if view.unit else view.channel)
    axes.margins(x=0.01)
    if view.stamps is None:
        axes.set_xlabel("rows from now")
    else:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlabel("time (UTC)")


def _draw_stages(axes: Any, name: str, stages: Mapping[str, tuple[Numbers, Numbers]]) -> None:
    """Draw the curves of one metric; the lowest validation value is marked."""
    for stage, (steps, values) in stages.items():
        look = _TRAIN | {"marker": "s" if len(values) == 1 else None} if stage == "train" else _VAL
        if stage == "train" and len(values) > _SMOOTH:
            axes.plot(steps, values, color="#B3CDE0", linewidth=0.6)
            width = len(values) // 25
            steps, values = steps[width - 1 :], np.convolve(values, np.full(width, 1 / width), "valid")
            stage = f"train, mean of {width}"
        axes.plot(steps, values, markersize=3.5, linewidth=1.4, label=stage, **look)
        if stage == "val" and len(values) > 1:
            best = int(np.nanargmin(values))
            axes.plot(steps[best], values[best], "o", markersize=9, markerfacecolor="none", color=_COLOURS[0])
            at, paper = (steps[best], values[best]), {"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.8}
            look = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "bbox": paper}
            axes.annotate(f"{values[best]:.4g}", at, xytext=(0, -15), **look)
    axes.set(xlabel="training step", ylabel=f"{name} (scaled values)")
    axes.margins(y=0.18)
    axes.legend(frameon=False)


def _read_curves(file: Path) -> dict[str, dict[str, tuple[Numbers, Numbers]]]:
    """Return steps and values by metric and stage, in the order of the columns."""
    panels: dict[str, dict[str, tuple[Numbers, Numbers]]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for column in rows[0] if rows else ():
        stage, _, metric = column.replace("/", "_").partition("_")
        if stage not in ("train", "val") or not metric or metric.endswith("_epoch"):
            continue
        found = [(float(row.get("step") or i), float(row[column])) for i, row in enumerate(rows) if row[column]]
        finite = np.array([pair for pair in found if math.isfinite(pair[1])])
        if len(finite):
            panels.setdefault(metric.removesuffix("_step"), {})[stage] = (finite[:, 0], finite[:, 1])
    return panels


def _top(curves: Sequence[Sequence[float]]) -> float:
    """Return where the vertical axis ends."""
    values = np.concatenate([np.asarray(curve, dtype=np.float64) for curve in curves])
    ends = [1.05 * values[np.isfinite(values)].max(initial=0.0)]
    first = np.asarray(curves[0], dtype=np.float64)
    if np.isfinite(first).any():
        ends.append(2.5 * first[np.isfinite(first)].max())
    return float(min(ends)) or 1.0


def _look(index: int) -> dict[str, Any]:
    """Return the style of the index-th line."""
    at = index % len(_COLOURS)
    width = 2.2 if index == 0 else 1.4
    return {"color": _COLOURS[at], "linestyle": _LINES[at], "marker": _MARKERS[at], "linewidth": width}


def _step(period_ns: int | None, rows: int) -> tuple[float, str]:
    """Return the length of a row in the unit that gives the horizon a number of 3 or more, and its name."""
    for nanoseconds, name in _UNITS if period_ns else ():
        if rows * (period_ns or 0) >= 3 * nanoseconds:
            return (period_ns or 0) / nanoseconds, name
    return 1.0, "rows"


def _figure(width: float, height: float) -> Any:
    """Return an empty figure of its own: no pyplot, so that nothing is kept open and no display is asked for."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'mambats[plot]'.", name=error.name) from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return write_whole(path, content.getvalue())
