"""What each fault costs: the same drives and the same starts, one fault at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mambats.odometry.contest import FILTERS, Contest, hold_contest
from mambats.odometry.faults import Fault, standard_faults
from mambats.odometry.navigator import Navigator
from mambats.series import SensorWindow

NOMINAL = "nominal"
_COLUMNS = ("position", "nees_position", "coverage_95")


@dataclass(frozen=True)
class Degradation:
    """Scores by fault, contestant and metric; the first fault is none."""

    name: str
    scores: dict[str, dict[str, dict[str, float]]]

    def positions(self) -> dict[str, dict[str, float]]:
        """Return the RMSE of position of the model and of the filter by fault, m."""
        names = (self.name, FILTERS["all"])
        return {fault: {name: row[name]["position"] for name in names} for fault, row in self.scores.items()}

    def text(self) -> str:
        """Return the table: what the model and every filter make of each fault."""
        return table_of(self)


def degradation(
    model: Navigator,
    window: SensorWindow,
    seed: int = 0,
    name: str = "navigator",
    faults: Sequence[Fault] | None = None,
) -> Degradation:
    """Let the model and the filters estimate drives under each fault.

    Args:
        model: In evaluation mode.
        window: Test drives with ground truth.
        seed: Of the starts and of the axes of miscalibration: the same under every fault.
        name: Of the model.
        faults: None for the standard ones of the streams that are there.
    """
    chosen = standard_faults(tuple(window.streams)) if faults is None else list(faults)
    made = {NOMINAL: _contest(model, window, seed, name).scores()}
    for fault in chosen:
        broken = fault(window, torch.Generator().manual_seed(seed + 1))
        made[fault.label] = _contest(model, broken, seed, name).scores()
    return Degradation(name, made)


def _contest(model: Navigator, window: SensorWindow, seed: int, name: str) -> Contest:
    return hold_contest(model, window, torch.Generator().manual_seed(seed), name)


def table_of(found: Degradation) -> str:
    """Return a table as text: RMSE of position of everyone in metres, then how honest the model and the filter are."""
    names = [found.name, *FILTERS.values()]
    honest = [(name, metric) for name in names[:2] for metric in _COLUMNS[1:]]
    head = ["fault", *names, *(f"{name} {metric}" for name, metric in honest)]
    lines = [head]
    for fault, row in found.scores.items():
        best = min(row[name]["position"] for name in names)
        cells = [f"{row[name]['position']:.2f}" + ("*" if row[name]["position"] == best else " ") for name in names]
        lines.append([fault, *cells, *(f"{row[name][metric]:.2f}" for name, metric in honest)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = list[str]()
    for first, *rest in lines:
        text.append("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]))
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])
