"""How much a fusion encoder counts on each of its streams, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.series import Stamps

_LINES = ("-", "--", "-.", ":")


def draw_reliability(
    weights: npt.NDArray[np.float64],
    stamps: Stamps,
    names: Sequence[str],
    path: Path | str,
    *,
    measured: Mapping[str, Stamps] | None = None,
    title: str = "",
) -> Path:
    """Draw the weight of each stream in the tokens of one stream, and below when each stream measured.

    Args:
        weights: Of one series, shape (T, S), as `StreamFusion.reliability` and `EstimateFusion.reliability` give them,
            without masked rows.
        stamps: Of the rows, int64 nanoseconds, shape (T,).
        names: Of the S streams.
        path: Where to write the PNG.
        measured: Stamps of each stream's rows, by name; None leaves the lower part out.
        title: Above the picture.

    Returns:
        The path.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if weights.shape != (len(stamps), len(names)):
        raise ValueError(
            f"weights have shape {weights.shape}, stamps {stamps.shape}, names are {len(names)}: need "
            f"({len(stamps)}, {len(names)}). Give the rows of one series that are not masked."
        )
    figure = new_figure(9.0, 3.2 if measured is None else 3.4 + 0.22 * len(names))
    heights = [3.0] if measured is None else [3.0, 0.3 + 0.25 * len(names)]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    start = int(stamps[0]) if len(stamps) else 0
    for k, name in enumerate(names):
        style: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "linestyle": _LINES[k // len(COLOURS) % 4]}
        axes[0].plot((stamps - start) / 1e9, weights[:, k], label=name, linewidth=1.2, **style)
        if measured is not None and name in measured:
            at = (measured[name] - start) / 1e9
            axes[1].plot(at, np.full(len(at), -k), "|", color=style["color"], markersize=7)
    axes[0].set(ylabel="weight", ylim=(-0.03, 1.03), title=title)
    columns = min(len(names), 6)
    if measured is None:
        figure.legend(ncols=columns, fontsize="small", loc="outside lower center")  # below the label of the time
    else:
        axes[0].legend(ncols=columns, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.02))
        axes[1].set_yticks([-k for k in range(len(names))], list(names), fontsize="small")
        axes[1].set(ylim=(0.6 - len(names), 0.6))
    axes[-1].set_xlabel("time (s)")
    return save(figure, path)
