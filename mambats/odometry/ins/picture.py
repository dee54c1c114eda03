"""How errors grow while nothing corrects them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, save

Numbers = npt.NDArray[np.float64]


def draw_growth(time: Numbers, errors: Mapping[str, Numbers], path: Path | str, *, title: str) -> Path:
    """Draw the median error over the time left alone, and the middle half of all windows as a shade.

    Args:
        time: Shape (Q,), s.
        errors: By name, shape (W, Q), m; NaN where there was no truth.
        path: PNG to write.
        title: Above the picture.
    """
    figure = new_figure(8.0, 4.5)
    axes = figure.add_subplot()
    for number, (name, error) in enumerate(errors.items()):
        low, middle, high = np.nanquantile(error, (0.25, 0.5, 0.75), axis=0)
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(time, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(time, middle, color=colour, linewidth=1.8, label=name)
    axes.set_yscale("log")
    axes.set_xlim(time[0], time[-1])
    axes.set_xlabel("time left alone [s]")
    axes.set_ylabel("distance to the truth [m]")
    axes.grid(which="both", alpha=0.25)
    axes.set_title(title)
    axes.legend(loc="lower right")
    return save(figure, path)
