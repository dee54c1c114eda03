"""What a test of outages leaves behind: strapdown, constant noise and learned noise in one table, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mambats.estimators import InertialFilter
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.outage import Outage, Runner, began, follow, outages
from mambats.odometry.ins.report import Growth, GrowthReport


class OutageReport(GrowthReport):
    """Let every filter cross the same outages of the test part, each after all fixes up to there."""

    title = "Satellites lost: median error and middle half of all outages"

    def contest(self, task: Any, data: Any, number: int) -> list[Growth]:
        """Return what came of each contestant and length on one drive."""
        drive = data.parts[number].to(task.device)
        made = list[Growth]()
        for name, model, rolling_ns, unbiased in self._contestants(task):
            states = self._followed(model, drive, task.trial.rolling_ns)
            if unbiased:
                states = {k: state._replace(bias=torch.zeros_like(state.bias)) for k, state in states.items()}
            for seconds in task.lengths:
                starts = data.starts("test", number, seconds).to(task.device)
                if len(starts):
                    one = outages(model, drive, states, starts, seconds, rolling_ns)
                    made.append(Growth(name, seconds, len(starts), one.scores(task.trial.fix), _over_time(one)))
        return made

    def _contestants(self, task: Any) -> list[tuple[str, Runner, int | None, bool]]:
        """Name, filter, period of the constraint in the outage, and whether its biases are forgotten there."""
        rolling, given = task.trial.rolling_ns, task.as_given()
        made: list[tuple[str, Runner, int | None, bool]] = [("strapdown", given, None, True)]
        made.append(("filter, no constraint", task.filter, None, False))
        if task.tune:
            made.append(("filter, noise as given", given, rolling, False))
        made.append(("filter, noise tuned" if task.tune else "filter, constant noise", task.filter, rolling, False))
        return [*made, (self.name, task.model, rolling, False)]

    def _followed(self, model: Any, drive: Drive, rolling_ns: int) -> dict[int, Any]:
        """States of a filter that is given every fix; kept, since contestants share filters."""
        key = (id(model), id(drive))
        if key not in self._kept:
            begin = began(model if isinstance(model, InertialFilter) else model.estimator, drive)
            start = begin if isinstance(model, InertialFilter) else model.started(begin)
            self._kept = {key: follow(model, drive, start, rolling_ns, len(drive.fixes) - 1)} | self._kept
        return self._kept[key]

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__(name, folder)
        self._kept = dict[tuple[int, int], dict[int, Any]]()


def _over_time(one: Outage) -> torch.Tensor:
    """Distances (W, Q) to the fixes withheld, NaN where there is none."""
    return torch.where(one.mask, one.error.norm(dim=-1), torch.nan)
