"""What each fault costs: the same drives and the same starts, one fault at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mambats.odometry.contest import FILTERS, hold_contest
from mambats.odometry.faults import Fault, standard_faults
from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Navigator
from mambats.odometry.start import drawn_start
from mambats.series import SensorRows, SensorWindow

NOMINAL = "nominal"
#: Drives under faults that are filtered at once.
_SIDE_BY_SIDE = 256
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
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(seed))
    broken = {fault.label: fault(window, torch.Generator().manual_seed(seed + 1)) for fault in chosen}
    conditions = list(({NOMINAL: window} | broken).items())
    made, size = dict[str, dict[str, dict[str, float]]](), max(1, _SIDE_BY_SIDE // len(window))
    for begin in range(0, len(conditions), size):
        labels, windows = zip(*conditions[begin : begin + size], strict=True)
        every = Navigation(*(part.repeat(len(windows), *[1] * (part.ndim - 1)) for part in start))
        contest = hold_contest(model, side_by_side(windows), every, name)
        for number, label in enumerate(labels):
            made[label] = contest.part(number * len(window), (number + 1) * len(window)).scores()
    return Degradation(name, made)


def side_by_side(windows: Sequence[SensorWindow]) -> SensorWindow:
    """Put the same drives under several faults one behind the other: their rows are as many in each."""
    first = windows[0]

    def rows(parts: Sequence[SensorRows]) -> SensorRows:
        observed = [part.observed for part in parts if part.observed is not None]
        return SensorRows(
            torch.cat([part.values for part in parts]), torch.cat([part.mask for part in parts]),
            torch.cat([part.gaps for part in parts]), torch.cat([part.stamps for part in parts]),
            torch.cat(observed) if len(observed) == len(parts) else None,
        )  # fmt: skip

    return replace(
        first,
        streams={name: rows([window.streams[name] for window in windows]) for name in first.streams},
        truth={name: rows([window.truth[name] for window in windows]) for name in first.truth},
        starts=torch.cat([window.starts for window in windows]),
        recording=torch.cat([window.recording for window in windows]),
    )


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
