"""The Lightning skin of learned noise in an inertial filter: trained on outages made on the drive's first part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mambats.estimators import InertialFilter
from mambats.estimators.learned import LearnedNoise
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.fit import cost, judge, tune
from mambats.odometry.ins.outage import Blackout, began, follow
from mambats.odometry.ins.starts import Starts
from mambats.odometry.ins.task import AloneTask
from mambats.recipe import describe, rebuild
from mambats.task import Optimiser, Stage

if TYPE_CHECKING:
    from mambats.odometry.ins.outage_report import OutageReport


class OutageTask(AloneTask):
    """Train, validate and test `LearnedNoise` over an inertial filter on outages of the satellites (`OutageData`).

    First the filter's constant noise is tuned on the first drive, and left at the step that is best on validation;
    then the encoder is trained on top of it.

    Args:
        model: An inertial filter with an encoder over it.
        optimiser: Optimiser settings.
        blackout: How fixes are withheld; `Blackout()` where None.
        lengths: Seconds of the outages tested.
        tune: Steps of tuning the constant noise; 0 keeps it as given.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest.

    Raises:
        ValueError: If there is no length, or `tune` is negative.
        TypeError: If the model has no inertial filter.
    """

    def __init__(
        self,
        model: LearnedNoise,
        optimiser: Optimiser | None = None,
        blackout: Blackout | None = None,
        lengths: Sequence[int] = (10, 30, 60),
        tune: int = 0,
        no_mixer: bool = False,
    ) -> None:
        super().__init__(model, optimiser, lengths, no_mixer)
        if tune < 0:
            raise ValueError(f"tune is {tune}: need 0 steps or more.")
        self.blackout, self.tune = blackout, tune
        self.filter.requires_grad_(False)
        self._drives, self._states = list[Drive](), list[dict[int, Any]]()

    @property
    def filter(self) -> InertialFilter:
        """The filter whose noise is set."""
        inside = self.model.estimator
        if not isinstance(inside, InertialFilter):
            raise TypeError(f"{type(inside).__name__} has no inertial unit: give an InertialFilter.")
        return inside

    @property
    def trial(self) -> Blackout:
        """How fixes are withheld."""
        return self.blackout or Blackout()

    @property
    def reach(self) -> tuple[int, int]:
        """Seconds that windows of training and of validation take."""
        return self.trial.given + self.trial.lost, self.trial.lost

    def as_given(self) -> InertialFilter:
        """Return the filter before tuning."""
        return rebuild(describe(self.filter)).double().to(self.device)

    def on_fit_start(self) -> None:
        """Tune the constant noise, and follow all drives with it."""
        self._drives = [drive.to(self.device) for drive in self._data.parts]
        if self.tune:
            self._tune()
        self._states = []
        for number, drive in enumerate(self._drives):
            until = int(self._data.starts("val", number, self.trial.lost)[-1])
            with torch.no_grad():
                states = follow(self.filter, drive, began(self.filter, drive), self.trial.rolling_ns, until)
            self._states.append({k: self.model.started(state) for k, state in states.items()})

    def _tune(self) -> None:
        """Tune the constant noise on the first drive."""
        starts = [
            self._data.starts(*each).to(self.device) for each in zip(("train", "val"), (0, 0), self.reach, strict=True)
        ]
        course = tune(self.filter, self._drives[0], (starts[0], starts[1]), self.trial, self.tune)
        shown = "  ".join(f"{value:.3f}" for value in course.val)
        print(f"constant noise tuned; nats a fix on validation: {shown}; step {course.best} kept.", flush=True)

    def cost(self, batch: Starts, stage: Stage) -> Tensor:
        """Return how surprised the filter is by fixes withheld, nats a fix."""
        drive, states = self._drives[batch.recording], self._states[batch.recording]
        return (cost if stage == "train" else judge)(self.model, drive, states, batch.rows, self.trial)

    def report(self, name: str, folder: Path) -> OutageReport:
        """Return what writes the table and the picture of a test."""
        from mambats.odometry.ins.outage_report import OutageReport

        return OutageReport(name, folder)
