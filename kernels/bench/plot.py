"""Pictures of a GPU run: how much faster than the rival, and where attention is overtaken. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from bench.bars import BARS
from bench.row import Machine, Row
from bench.table import PASSES, ours, pick, ratio_of

matplotlib.use("agg")


def speed(axes: Any, rows: Sequence[Row], which: int) -> None:
    """Draw each promise's ratio as a bar, with marks for what it must and what it shall be."""
    bars = [bar for bar in BARS if bar.must[which] is not None]
    places = range(len(bars))
    ratios = [ratio_of(rows, bar, which) or 0.0 for bar in bars]
    enough = [ratio >= (bar.must[which] or 0) for ratio, bar in zip(ratios, bars, strict=True)]
    axes.barh(places, ratios, color=["#2a7f62" if good else "#b5532b" for good in enough], height=0.6)
    axes.plot([bar.must[which] for bar in bars], places, "k|", markersize=11, label="must")
    aims = [(bar.aim[which], place) for bar, place in zip(bars, places, strict=True) if bar.aim[which]]
    axes.plot([aim for aim, _ in aims], [place for _, place in aims], "k|", markersize=7, alpha=0.4, label="aim")
    axes.axvline(1.0, color="0.5", linewidth=0.8)
    axes.set_yticks(list(places), [bar.label for bar in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_title(f"{PASSES[which]}: times faster than the rival", fontsize=9)
    axes.legend(fontsize=7, loc="lower right")


def tokens_of(case: str) -> int:
    """T of a case's name."""
    return int(next(part[1:] for part in case.split("_") if part.startswith("T")))


def attention(axes: Any, rows: Sequence[Row]) -> None:
    """Draw time a token over the tokens of a sequence: flash attention and our scan."""
    if not any(row.section == "attention" and row.device_ms for row in rows):
        axes.set_axis_off()
        return
    for step, style in zip(PASSES, ("-", "--"), strict=True):
        rival = [row for row in rows if row.section == "attention" and row.step == step and row.device_ms]
        mine = [
            pick(
                rows,
                lambda r, o=other: (
                    (r.section, r.case, r.step, r.dtype) == ("scan", o.case, o.step, o.dtype) and ours(r)
                ),
            )
            for other in rival
        ]
        for found, name, colour in ((rival, "torch SDPA flash", "#b5532b"), (mine, "our scan", "#2a7f62")):
            points = sorted(
                (tokens_of(row.case), 1e6 * (row.device_ms or 0.0) / rows_of(row.case)) for row in found if row
            )
            axes.plot([p[0] for p in points], [p[1] for p in points], style, marker="o", markersize=3, color=colour,
                      label=f"{name}, {step}")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens of a sequence (width 1536, bfloat16, causal)", fontsize=8)
    axes.set_ylabel("ns a token", fontsize=8)
    axes.set_title("Against attention", fontsize=9)
    axes.legend(fontsize=7)


def rows_of(case: str) -> int:
    """B T of a case's name."""
    return int(case.partition("/B")[2].partition("_")[0]) * tokens_of(case)


def draw(machine: Machine, rows: Sequence[Row], path: Path) -> None:
    """Draw all into one picture.

    Args:
        machine: Named in the title.
        rows: Of one GPU run.
        path: The picture's file.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(15, 5), layout="constrained")
    speed(panels[0], rows, 0)
    speed(panels[1], rows, 1)
    attention(panels[2], rows)
    figure.suptitle(f"{machine.device}, torch {machine.torch}, {machine.date}", fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
