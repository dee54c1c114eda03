"""A moment from above: where tracks were, where they are said to go, and where they went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.track.forecast.batch import Forecast, ForecastBatch

SIZE = 8.0  # inches
DEVIATIONS = 2.146  # of two numbers: 90 % lie within
STEPS = 48  # points of an ellipse


def plot_moment(batch: ForecastBatch, said: Forecast, path: Path | str) -> Path:
    """Draw the moment of a scene at which most forecasts count, x forward to the right, y left upwards.

    Args:
        batch: One scene.
        said: Its forecasts.
        path: PNG file; its folder is made.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    asked = batch.asked.all(-1) if bool(batch.asked.all(-1).any()) else batch.asked.any(-1)
    frame = int(asked.sum(0).argmax())
    figure = new_figure(SIZE, SIZE)
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.set_xlabel("x, m")
    axes.set_ylabel("y, m")
    axes.plot([0], [0], "k^", label="sensor")
    for row in torch.nonzero(batch.seen[:, frame])[:, 0].tolist():
        colour = COLOURS[int(batch.labels[row]) % len(COLOURS)]
        axes.plot(*batch.mean[row, frame, :2].tolist(), "o", color=colour, markersize=4)
        if bool(asked[row, frame]):
            _draw(axes, said.take((row, frame)), batch.truth[row, frame], colour)  # pyright: ignore[reportArgumentType]
    axes.plot([], [], "-", color="grey", label="forecast, ellipses of 90 %")
    axes.plot([], [], "x", color="black", label="truth, as seen then")
    axes.legend(loc="upper right", fontsize=7)
    return save(figure, path)


def _draw(axes: Any, said: Forecast, truth: Tensor, colour: str) -> None:
    """Draw the likeliest mode of one forecast, and what came."""
    mode = int(said.logits.argmax())
    mean, covariance = said.mean[mode].cpu(), said.covariance[mode].cpu()
    axes.plot(mean[:, 0], mean[:, 1], "-", color=colour, linewidth=1)
    axes.plot(truth[:, 0], truth[:, 1], "x", color="black", markersize=4)
    angle = torch.linspace(0, 2 * torch.pi, STEPS)
    circle = torch.stack([angle.cos(), angle.sin()])
    for place, spread in zip(mean, torch.linalg.cholesky(covariance), strict=True):
        edge = place[:, None] + DEVIATIONS * spread @ circle
        axes.plot(edge[0], edge[1], "-", color=colour, linewidth=0.5, alpha=0.6)
