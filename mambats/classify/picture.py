"""The picture of a classifier's test: which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mambats.pictures.canvas import new_figure, save


def draw_confusion(counts: Tensor, names: Sequence[str], path: str | Path, *, title: str = "") -> Path:
    """Draw a confusion matrix: cases of the row's class that were taken for the column's, numbers in the cells.

    Args:
        counts: Shape (K, K).
        names: Of the K classes.
        path: PNG file; its folder is made.
        title: Name of the model and the data.

    Returns:
        The path.
    """
    size = 2.6 + 0.55 * len(names)
    figure = new_figure(size + 0.6, size)
    axes = figure.subplots()
    share = (counts.double() / counts.sum(1, keepdim=True).clamp_min(1)).numpy()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            if count := int(counts[row, column]):
                shade = "white" if share[row, column] > 0.55 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=shade)
    axes.set(xlabel="taken for", ylabel="is", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names, rotation=45 if max(map(len, names)) > 3 else 0, ha="right")
    axes.set_yticklabels(names)
    right = float(counts.diagonal().sum() / counts.sum().clamp_min(1))
    axes.set_title(f"{title}\n{right:.1%} of {int(counts.sum())} cases right", fontsize=10)
    return save(figure, path)
