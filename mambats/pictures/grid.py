"""An occupancy grid seen from above, with bodies and the way that is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, save

HEIGHT = 7.0  # inches


def plot_grid(
    probability: npt.NDArray[Any],
    x: tuple[float, float],
    y: tuple[float, float],
    path: Path | str,
    *,
    boxes: npt.NDArray[Any] | None = None,
    corridor: tuple[float, float, float, float] | None = None,
    title: str = "",
) -> Path:
    """Draw a grid with the robot at the origin looking up.

    Args:
        probability: That a cell is occupied, shape (X, Y): white where free, black where occupied, grey unknown.
        x: Ends of the grid ahead, metres; drawn upwards.
        y: Ends of the grid to the left, metres; drawn to the left.
        path: PNG file; its folder is made.
        boxes: Corners of bodies in order, shape (K, 4, 2), metres; drawn as outlines.
        corridor: Curvature (1/m), start, length and width (m) of a free way; drawn as a band.
        title: Above the picture.

    Returns:
        The path.

    Raises:
        ValueError: If the grid has not two axes or boxes have another shape.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    if probability.ndim != 2 or (boxes is not None and boxes.shape[1:] != (4, 2)):
        shapes = f"probability {probability.shape}, boxes {None if boxes is None else boxes.shape}"
        raise ValueError(f"shapes are {shapes}: need (X, Y), and (K, 4, 2) or None.")
    figure = new_figure(HEIGHT * (y[1] - y[0]) / (x[1] - x[0]) + 2.2, HEIGHT + 0.8)
    axes = figure.subplots()
    # Columns run from right to left in the world: mirror them, so that left is left.
    image = axes.imshow(
        probability[:, ::-1], cmap="gray_r", vmin=0, vmax=1, origin="lower", extent=(y[1], y[0], *x), aspect="equal"
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.02, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["free", "unknown", "occupied"], fontsize=8)
    if corridor is not None:
        _draw_corridor(axes, *corridor)
    for box in () if boxes is None else boxes:
        ring = np.concatenate([box, box[:1]])
        axes.plot(ring[:, 1], ring[:, 0], color=COLOURS[1], linewidth=1.0)
    axes.plot([0], [0], marker="^", markersize=8, color=COLOURS[0], linestyle="")
    axes.set(xlim=(y[1], y[0]), ylim=x, xlabel="left [m]", ylabel="ahead [m]")
    axes.set_title(title, fontsize=9)
    return save(figure, path)


def _draw_corridor(axes: Any, curvature: float, start: float, length: float, width: float) -> None:
    if length <= start:
        return
    along = np.linspace(start, length, 80)
    sides = [_beside(curvature, along, side) for side in (width / 2, -width / 2)]
    band = np.concatenate([sides[0], sides[1][::-1]])
    axes.fill(band[:, 1], band[:, 0], color=COLOURS[2], alpha=0.35, linewidth=0)
    middle = _beside(curvature, along, 0.0)
    axes.plot(middle[:, 1], middle[:, 0], color=COLOURS[2], linewidth=1.5)


def _beside(curvature: float, along: npt.NDArray[Any], left: float) -> npt.NDArray[Any]:
    """Places (n, 2) to the left of an arc that leaves the origin along x."""
    if abs(curvature) < 1e-6:
        return np.stack([along, np.full_like(along, left)], -1)
    radius, angle = 1 / curvature, curvature * along
    return np.stack([(radius - left) * np.sin(angle), radius - (radius - left) * np.cos(angle)], -1)
