"""Whether squared, normalised errors (NIS, NEES) are chi-square, as they are where covariances are right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS, new_figure, save

Numbers = npt.NDArray[np.float64]
LEVEL = 0.95
LEVELS = 400  # quantiles of a curve
_LINES = ("-", "--", "-.", ":")


def draw_chi_square(
    values: Mapping[str, Numbers], degrees: int, path: Path | str, *, name: str = "NIS", title: str = ""
) -> Path:
    """Draw a histogram beside the density, and quantiles against those of chi-square with the band of chance.

    The band holds each quantile with 95 % where values are independent (Wilson's interval); those of one track hang
    together, and a consistent filter leaves it more often.

    Args:
        values: Squared normalised errors by what they are of, each (M,); empty ones are left out.
        degrees: Of freedom.
        path: PNG file; its folder is made.
        name: Of the values.
        title: Above the picture.

    Returns:
        The path.

    Raises:
        ValueError: If there is no value, or one is not finite or below 0.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    kept = {label: np.sort(np.asarray(one, dtype=np.float64)) for label, one in values.items() if len(one)}
    if not kept:
        raise ValueError(f"there is no {name} to draw: no update was made.")
    for label, one in kept.items():
        if not np.isfinite(one).all() or one[0] < 0:
            raise ValueError(f"{name} of {label} has values that are not finite or below 0: covariances are broken.")
    figure = new_figure(10.0, 4.6)
    left, right = figure.subplots(1, 2)
    law = _Law(degrees)
    _draw_histogram(left, kept, law, name)
    _draw_quantiles(right, kept, law, name)
    figure.suptitle(title or f"{name} against chi-square of {degrees}")
    return save(figure, path)


class _Law:
    """Chi-square of some degrees of freedom, on a grid fine enough for a picture."""

    def __init__(self, degrees: int) -> None:
        import torch

        self.degrees = degrees
        self.grid = np.logspace(-6, math.log10(degrees + 60 * math.sqrt(2 * degrees)), 20_000)
        half = torch.tensor(degrees / 2, dtype=torch.float64)
        self.below = torch.special.gammainc(half, torch.from_numpy(self.grid) / 2).numpy()

    def density(self, x: Numbers) -> Numbers:
        half = self.degrees / 2
        return np.exp((half - 1) * np.log(x) - x / 2 - half * math.log(2) - math.lgamma(half))

    def quantile(self, share: Numbers) -> Numbers:
        return np.interp(share, self.below, self.grid)


def _draw_histogram(axes: Any, values: Mapping[str, Numbers], law: _Law, name: str) -> None:
    low, high, end = law.quantile(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2, 0.9995]))
    axes.axvspan(low, high, color="#E8E8E8", zorder=0, label=f"{LEVEL:.0%} of chi-square")
    x = np.linspace(end / 2000, end, 500)
    density = law.density(x)
    axes.plot(x, density, color="#000000", linewidth=1.8, zorder=4, label=f"chi-square of {law.degrees}")
    top = law_top = float(density[x > end / 100].max())
    for number, (label, one) in enumerate(values.items()):
        edges = np.linspace(0, end, 1 + int(np.clip(1.5 * math.sqrt(len(one)), 12, 45)))  # few values make coarse bins
        counts = np.histogram(one, edges)[0] / len(one) / (edges[1] - edges[0])
        top = max(top, min(float(counts.max()), 2.5 * law_top))  # one far off must not press the law flat
        inside, beyond = ((one >= low) & (one <= high)).mean(), (one > end).mean()
        words = (
            f"{label}: mean/{law.degrees} = {one.mean() / law.degrees:.2f}, inside {inside:.1%}, {len(one):,} values"
        )
        words += f"\n({beyond:.1%} lie beyond the axis)" if beyond >= 0.0005 else ""
        look = {"color": COLOURS[number % len(COLOURS)], "linestyle": _LINES[number % len(_LINES)]}
        axes.stairs(counts, edges, linewidth=1.6, label=words, zorder=3, **look)
    axes.set(xlim=(0, end), ylim=(0, top * (1.35 + 0.14 * len(values))), xlabel=f"{name} [-]", ylabel="density [-]")
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)


def _draw_quantiles(axes: Any, values: Mapping[str, Numbers], law: _Law, name: str) -> None:
    """Draw quantiles against quantiles, on logarithmic axes: above the line is overconfident."""
    ends = list[float]()
    for number, (label, one) in enumerate(values.items()):
        colour, reach = COLOURS[number % len(COLOURS)], math.log(1 / 0.5 * len(one) + 1)
        share = 1 / (1 + np.exp(-np.linspace(-reach, reach, LEVELS)))
        share = np.unique(np.clip(share, 0.5 / len(one), 1 - 0.5 / len(one)))
        expected = law.quantile(share)
        below, above = (law.quantile(edge) for edge in _chance(share, len(one)))
        axes.fill_between(expected, below, above, color=colour, alpha=0.15, linewidth=0)
        found = np.quantile(one, share, method="hazen") if len(one) > 1 else np.full_like(share, one[0])
        look = {"color": colour, "linestyle": _LINES[number % len(_LINES)]}
        axes.plot(expected, found, linewidth=1.8, label=label, **look)
        ends += [expected[0], expected[-1], max(float(found[0]), expected[0] / 10), float(found[-1])]
    span = (max(min(ends) * 0.8, 1e-2), max(ends) * 1.25)
    axes.plot(span, span, color="#000000", linewidth=1.0, label="chi-square")
    axes.set(xscale="log", yscale="log", xlim=span, ylim=span, aspect="equal")
    axes.set(xlabel=f"quantile of chi-square of {law.degrees} [-]", ylabel=f"quantile of {name} [-]")
    axes.annotate("overconfident", (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=8, color="#595959")
    axes.annotate("underconfident", (0.97, 0.03), xycoords="axes fraction", ha="right", fontsize=8, color="#595959")
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.93), fontsize=8, frameon=False)


def _chance(share: Numbers, count: int) -> tuple[Numbers, Numbers]:
    """Return the shares between which chance leaves a quantile of so many values, by Wilson 1927."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half
