"""Pictures of a regressor's test: estimates along whole lives, and estimates against the truth where it was asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.regress.head import Estimate

MODEL, OTHER, BLACK = COLOURS[0], COLOURS[1], "#000000"


def draw_lives(
    views: Mapping[str, tuple[Tensor, Mapping[str, Estimate]]],
    path: str | Path,
    *,
    cap: float | None,
    title: str = "",
    label: str = "estimate",
) -> Path:
    """Draw the estimate with its interval at every row of some cases, a panel a case.

    Args:
        views: By name of the case: truth (T,), and estimates (T,) by model; the first is drawn with its interval,
            the second as a thin line.
        path: PNG file; its folder is made.
        cap: Where training held the truth, or None.
        title: Name of the model and the data.
        label: What is estimated.

    Returns:
        The path.
    """
    columns = min(2, len(views))
    rows = math.ceil(len(views) / columns)
    figure = new_figure(4.6 * columns, 2.7 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, (truth, estimates)) in zip(grid, views.items(), strict=False):
        _draw_life(axes, truth, estimates, cap)
        axes.set(title=name, xlabel="row", ylabel=label)
    for axes in grid[len(views) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=5, frameon=False)
    return save(figure, path)


def draw_asked(
    estimates: Mapping[str, Estimate], truth: Tensor, path: str | Path, *, cap: float | None, title: str = ""
) -> Path:
    """Draw estimates against the truth at the rows that were asked, a panel a model.

    Args:
        estimates: By model, each (n,).
        truth: Shape (n,).
        path: PNG file; its folder is made.
        cap: Where training held the truth, or None.
        title: Name of the model and the data.

    Returns:
        The path.
    """
    figure = new_figure(4.4 * len(estimates), 4.4)
    grid = figure.subplots(1, len(estimates), squeeze=False, sharey=True).flatten()
    top = float(truth.max()) * 1.05
    for axes, (name, estimate) in zip(grid, estimates.items(), strict=True):
        bounded = bool(estimate.low.isfinite().all())
        if bounded:
            reach = (estimate.point - estimate.low).clamp_min(0), (estimate.high - estimate.point).clamp_min(0)
            axes.errorbar(truth, estimate.point, yerr=np.stack([r.numpy() for r in reach]), fmt="none",
                          ecolor="#B3CDE0", elinewidth=0.8, zorder=1, label="interval")  # fmt: skip
        axes.scatter(truth, estimate.point, s=9, color=MODEL, zorder=2, label="estimate")
        axes.plot([0, top], [0, top], color=BLACK, linewidth=1, zorder=3, label="right")
        if cap is not None:
            axes.axhline(cap, color="#7F7F7F", linewidth=0.8, linestyle=":", label=f"cap {cap:g}")
        held = truth if cap is None else truth.clamp(max=cap)
        error = float((estimate.point - held).square().mean().sqrt())
        axes.set(title=f"{name}: RMSE {error:.1f}", xlabel="truth", xlim=(0, top), ylim=(0, top))
        axes.grid(color="#E5E5E5", linewidth=0.6)
    grid[0].set_ylabel("estimate, with interval")
    grid[0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(title)
    return save(figure, path)


def _draw_life(axes: Any, truth: Tensor, estimates: Mapping[str, Estimate], cap: float | None) -> None:
    row = np.arange(1, len(truth) + 1)
    (_, model), *others = estimates.items()
    axes.fill_between(row, model.low, model.high, color="#B3CDE0", linewidth=0, label="interval")
    held = truth if cap is None else truth.clamp(max=cap)
    if cap is not None:
        axes.plot(row, truth, color="#7F7F7F", linewidth=0.9, linestyle=":", label="truth")
    axes.plot(row, held, color=BLACK, linewidth=1.3, label="truth" if cap is None else f"truth, at most {cap:g}")
    for name, other in others[:1]:
        axes.plot(row, other.point, color=OTHER, linewidth=0.8, label=name)
    axes.plot(row, model.point, color=MODEL, linewidth=1.6, label="estimate")
    axes.set_ylim(0, None if cap is None else 1.35 * cap)
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.margins(x=0.01)
