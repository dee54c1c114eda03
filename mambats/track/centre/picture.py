"""A sweep from above: heat map, points, true boxes and found ones with their ellipses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.track.centre.model import CentreDetector, Found
from mambats.track.centre.sweeps import SweepBatch

WIDTH = 9.0  # inches
SHOWN = 0.3  # score from which a box is drawn


def plot_sweep(
    batch: SweepBatch, found: Found, row: int, path: Path | str, *, heat: Tensor, model: CentreDetector, title: str = ""
) -> Path:
    """Draw one sweep of a batch, x forward to the right, y left upwards.

    Args:
        batch: With points and true boxes.
        found: What was found in it.
        row: Which sweep.
        path: PNG file; its folder is made.
        heat: Heat maps of that sweep, shape (K, ny, nx), 0 to 1.
        model: With classes and grid.
        title: Of the picture; empty for none.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    cells = model.box_code.cells
    extent = (cells.low[0], cells.high[0], cells.low[1], cells.high[1])
    figure = new_figure(WIDTH, WIDTH * (extent[3] - extent[2]) / (extent[1] - extent[0]))
    axes = figure.subplots()
    axes.imshow(heat.amax(0), extent=extent, origin="lower", cmap="Greys", vmin=0, vmax=1, alpha=0.6)
    points = batch.points[row].cpu()
    new = points[points[:, :3].isfinite().all(-1) & (points[:, 4] == 0)]
    axes.scatter(new[:, 0], new[:, 1], s=0.6, c=new[:, 2], cmap="viridis", vmin=-2, vmax=2, linewidths=0)
    kept = batch.labels[row] >= 0
    for box in batch.boxes[row][kept]:
        _outline(axes, box, "#000000", "--")
    for box, velocity, score, label, variance in zip(*(part[row].cpu() for part in found), strict=True):
        if score >= SHOWN:
            colour = COLOURS[int(label) % len(COLOURS)]
            _outline(axes, box, colour, "-")
            _ellipse(axes, box, variance, colour)
            axes.annotate("", box[:2] + velocity, box[:2], arrowprops={"arrowstyle": "->", "color": colour})
            axes.annotate(f"{score:.2f}", box[:2], xytext=(4, 4), textcoords="offset points", fontsize=6, color=colour)
    for number, name in enumerate(model.classes):
        axes.plot([], [], color=COLOURS[number], label=name)
    axes.plot([], [], "k--", label="truth")
    axes.legend(loc="upper left", fontsize=7)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="x [m]", ylabel="y [m]", aspect="equal", title=title or None)
    return save(figure, path)


def _outline(axes: Any, box: Tensor, colour: str, style: str) -> None:
    """Draw a box and a stroke to its front."""
    cos, sin = float(box[6].cos()), float(box[6].sin())
    corners = torch.tensor([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1], [1, 0], [0, 0]]) / 2 * box[3:5].cpu()
    x, y = corners.unbind(1)
    axes.plot(box[0] + cos * x - sin * y, box[1] + sin * x + cos * y, style, color=colour, linewidth=1)


def _ellipse(axes: Any, box: Tensor, variance: Tensor, colour: str) -> None:
    """Draw where the middle is with 95 %: chi-square of 2 degrees of freedom below 5.99."""
    turn = np.linspace(0, 2 * np.pi, 40)
    reach = np.sqrt(5.99 * variance[:2].numpy())
    axes.plot(float(box[0]) + reach[0] * np.cos(turn), float(box[1]) + reach[1] * np.sin(turn), color=colour, lw=0.5)
