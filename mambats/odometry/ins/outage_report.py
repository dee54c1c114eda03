"""What a test of outages leaves behind: strapdown, constant noise and learned noise in one table, and a picture."""

from __future__ import annotations

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
        drive, made, kept = data.parts[number].to(task.device), list[Growth](), dict[int, dict[int, Any]]()
        contestants = self._contestants(task)
        for name, model, rolling_ns, unbiased in contestants:
            if id(model) not in kept:
                kept[id(model)] = _followed(model, drive, task.trial.rolling_ns)
            states = kept[id(model)]
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
        rolling, given = task.trial.rolling_ns, task.as_given() if task.tune else task.filter
        made: list[tuple[str, Runner, int | None, bool]] = [("strapdown", given, None, True)]
        made.append(("filter, no constraint", task.filter, None, False))
        if task.tune:
            made.append(("filter, noise as given", given, rolling, False))
        made.append(("filter, noise tuned" if task.tune else "filter, constant noise", task.filter, rolling, False))
        return [*made, (self.name, task.model, rolling, False)]


def _followed(model: Any, drive: Drive, rolling_ns: int) -> dict[int, Any]:
    """States of a filter that is given every fix."""
    plain = isinstance(model, InertialFilter)
    begin = began(model if plain else model.estimator, drive)
    return follow(model, drive, begin if plain else model.started(begin), rolling_ns, len(drive.fixes) - 1)


def _over_time(one: Outage) -> torch.Tensor:
    """Distances (W, Q) to the fixes withheld, NaN where there is none."""
    return torch.where(one.mask, one.error.norm(dim=-1), torch.nan)
