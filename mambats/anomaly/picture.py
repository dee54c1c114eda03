"""A series with what was expected of it, its labelled windows, the score and the alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambats.anomaly.metrics import find_ranges
from mambats.anomaly.rows import Surprise
from mambats.anomaly.scoreboard import Judged
from mambats.pictures.canvas import COLOURS, new_figure, save


def draw_series(judged: Judged, surprise: Surprise, path: Path, threshold: float, title: str) -> Path:
    """Draw the first channel of one series and its score below.

    Args:
        judged: Score and alarms.
        surprise: With the expected interval, (1, T, C).
        path: PNG to write.
        threshold: Of the alarms.
        title: Who scored.

    Returns:
        The path.
    """
    series = judged.series
    figure = new_figure(12, 5.2)
    value, score = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    when = series.stamps.astype("datetime64[ns]")
    scale, location = float(series.scale[0]), float(series.location[0])
    seen = series.rows.seen[0, :, 0].numpy()
    low, high = (bound[0, :, 0].cpu().double().numpy() * scale + location for bound in (surprise.low, surprise.high))
    measured = np.where(seen, series.rows.values[0, :, 0].numpy() * scale + location, np.nan)
    value.fill_between(when, low, high, color=COLOURS[5], alpha=0.5, linewidth=0, label="expected, 90 %")
    value.plot(when, measured, color="black", linewidth=0.5, label="measured")
    span = np.nanmax(measured) - np.nanmin(measured)
    value.set_ylim(np.nanmin(measured) - 0.1 * span, np.nanmax(measured) + 0.35 * span)  # room for the legend
    score.plot(when, judged.score.numpy(), color=COLOURS[0], linewidth=0.6, label="of the row")
    score.plot(when, judged.lasting.numpy(), color=COLOURS[2], linewidth=0.9, label="lasting")
    score.axhline(threshold, color=COLOURS[1], linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    _mark(value, score, judged, when, measured)
    value.set_title(f"{series.name}: {title}")
    value.set_ylabel("value")
    score.set_ylabel("score [deviations]")
    score.set_ylim(min(-3.0, float(judged.score.min())), max(8.0, float(judged.score[series.begin :].max()) * 1.25))
    for axes in (value, score):
        axes.legend(loc="upper left", ncols=6, fontsize=8, framealpha=0.9)
        axes.margins(x=0)
    return save(figure, path)


def _mark(value: Any, score: Any, judged: Judged, when: Any, measured: Any) -> None:
    """Shade probation and labelled windows, mark alarms beyond the probation."""
    series = judged.series
    for axes in (value, score):
        axes.axvspan(when[0], when[series.begin - 1], color="0.9", label="probation" if axes is value else None)
        for number, (first, last) in enumerate(find_ranges(series.labels).tolist()):
            label = "labelled anomaly" if not number and axes is value else None
            axes.axvspan(when[first], when[last], color=COLOURS[4], alpha=0.35, label=label)
    rows = judged.alarm & (torch.arange(len(judged.alarm)) >= series.begin)
    for hit, marker, colour, label in (
        (True, "^", COLOURS[2], "alarm inside"),
        (False, "v", COLOURS[1], "false alarm"),
    ):
        at = (rows & (series.labels == hit)).nonzero()[:, 0].numpy()
        if len(at):
            value.plot(when[at], measured[at], marker, color=colour, markersize=5, linestyle="none", label=label)
