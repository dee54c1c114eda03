"""Figures without a window, written whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mambats.results import write_whole

#: Colours of Okabe and Ito, told apart by the colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")


def new_figure(width: float, height: float, constrained: bool = True) -> Any:
    """Return an empty figure of its own: no pyplot, so that nothing is kept open and no display is asked for.

    Args:
        width: Inches.
        height: Inches.
        constrained: Whether matplotlib places the axes by the sizes of their labels.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'mambats[plot]'.", name=error.name) from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path | str) -> Path:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return write_whole(path, content.getvalue())


def svg(figure: Any) -> bytes:
    """Return a figure as SVG, the same for the same figure; letters stay letters."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mambats"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
