"""A picture of Allan deviations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mambats import plots
from mambats.preprocess.imu.allan import AllanFit

_SHOWN = 0.664  # sqrt(2 ln 2 / pi): height of the floor over the bias instability


def draw_allan(fits: Mapping[str, AllanFit], path: Path | str, *, unit: str = "rad/s", title: str = "") -> Path:
    """Draw Allan deviations with their spread and the three terms that were read off, a panel a channel.

    Args:
        fits: By channel, a few.
        path: PNG file; its folder is made.
        unit: Of the channels.
        title: Name of the sensor and how long it lay still.

    Returns:
        The path.

    Raises:
        ValueError: If there is no fit.
    """
    if not fits:
        raise ValueError("no fit was given: need one channel at least.")
    columns = min(len(fits), 3)
    rows = -(-len(fits) // columns)
    figure = plots._figure(4.4 * columns, 3.9 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (name, fit) in zip(grid, fits.items(), strict=False):
        _draw(axes, name, fit, unit)
    for axes in grid[len(fits) :]:
        axes.set_visible(False)
    for row in range(rows):
        grid[row * columns].set_ylabel(f"Allan deviation [{unit}]")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, title=title or None)
    return plots._save(figure, path)


def _draw(axes: Any, name: str, fit: AllanFit, unit: str) -> None:
    """Draw one channel, both axes logarithmic."""
    low = np.maximum(fit.deviation - 1.96 * fit.spread, 0.2 * fit.deviation)
    axes.fill_between(fit.taus, low, fit.deviation + 1.96 * fit.spread, color="#B3CDE0", linewidth=0, label="95 %")
    axes.loglog(fit.taus, fit.deviation, "o", markersize=3, color="#000000", label="measured")
    axes.loglog(fit.taus, fit.model, color="#0072B2", linewidth=1.8, label="white noise + instability + random walk")
    parts = (
        (fit.density / np.sqrt(fit.taus), "--", f"white noise {fit.density:.2g} {unit}/√Hz"),
        (np.full_like(fit.taus, _SHOWN * fit.instability), ":", f"instability {fit.instability:.2g} {unit}"),
        (fit.walk * np.sqrt(fit.taus / 3), "-.", f"random walk {fit.walk:.2g} {unit}/s/√Hz"),
    )
    bottom, lines = 0.3 * float(fit.deviation.min()), [name]
    for (curve, style, words), bound in zip(parts, fit.intervals[:, 0], strict=True):
        seen = curve > bottom
        if seen.any():
            axes.loglog(fit.taus[seen], curve[seen], style, color="#7F7F7F", linewidth=1.1)
        lines.append(words if bound > 0 else f"{words} (may be none)")
    axes.set_title("\n".join(lines), fontsize=8, loc="left")
    axes.set_xlabel("averaging time [s]")
