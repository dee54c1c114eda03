"""The Lightning skin of learned biases: trained on the drift of an inertial unit that is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mambats.odometry.ins.bias import LearnedBias, constant_bias, cost, filtered_bias
from mambats.odometry.ins.flight import Flight
from mambats.odometry.ins.starts import Starts
from mambats.odometry.ins.task import AloneTask
from mambats.task import Optimiser, Stage

if TYPE_CHECKING:
    from mambats.odometry.ins.bias_report import BiasReport
    from mambats.odometry.ins.starts import FlightData

#: The biases (W, 6) that are known at the first samples (W,) of windows.
Known = Callable[[Tensor], Tensor]
Base = Literal["constant", "filter"]


class BiasTask(AloneTask):
    """Train, validate and test a `LearnedBias` on windows in which nothing corrects the unit (`FlightData`).

    Args:
        model: Corrects a known bias.
        optimiser: Optimiser settings.
        base: Which bias is corrected: one that is fitted to all before the test (`constant`), or that of a filter which
            saw true positions until the window's start (`filter`), as a robot that has just lost them.
        lengths: Seconds left alone that are tested.
        before: Seconds that the encoder reads before a window.
        gravity: m/s^2.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest.

    Raises:
        ValueError: If there is no length, or a number is not positive.
    """

    def __init__(
        self,
        model: LearnedBias,
        optimiser: Optimiser | None = None,
        base: Base = "constant",
        lengths: Sequence[int] = (1, 5, 10),
        before: int = 2,
        gravity: float = 9.81,
        no_mixer: bool = False,
    ) -> None:
        super().__init__(model, optimiser, lengths, no_mixer)
        if before < 1:
            raise ValueError(f"before is {before}: need seconds from 1 on.")
        self.base: Base = base
        self.before, self.gravity = before, gravity
        self._flights, self._known = list[Flight](), list[Known]()

    @property
    def reach(self) -> tuple[int, int]:
        """Seconds that windows of training and of validation take."""
        return max(self.lengths), max(self.lengths)

    def on_fit_start(self) -> None:
        """Find the known biases."""
        self._flights = [flight.to(self.device) for flight in self._data.parts]
        self._known = [self.known(flight, self._data, n, self.base) for n, flight in enumerate(self._flights)]

    def known(self, flight: Flight, data: FlightData, number: int, base: Base) -> Known:
        """Return biases that need no network.

        The constant one is fitted to all that stands before the test, validation too: what is learned on top of it is
        then kept only where it pays even so.

        Args:
            flight: With truth.
            data: Of the flight.
            number: Of the flight.
            base: Which.
        """
        if base == "filter":
            found, at = filtered_bias(flight, self.gravity)
            return lambda s: found[(torch.searchsorted(at, s, right=True) - 1).clamp_min(0)]
        first, last = round(data.settle * flight.rate), data.borders(number)[1] - max(self.lengths) * flight.rate
        starts = torch.arange(first, max(last, first + 1), 3 * flight.rate, device=flight.dt.device)
        constant = constant_bias(flight, starts, max(self.lengths), self.gravity)
        return lambda s: constant.expand(len(s), 6)

    def biases(self, flight: Flight, starts: Tensor, known: Tensor, seconds: int) -> Tensor:
        """Return the biases (W, T, 6) at all samples of windows, read from those and from some seconds before."""
        before = self.before * flight.rate
        readings = flight.readings[flight.samples(starts - before, seconds + self.before).clamp_min(0)]
        return self.model(readings, known, before)

    def cost(self, batch: Starts, stage: Stage) -> Tensor:
        """Return the mean drift."""
        flight, known, seconds = self._flights[batch.recording], self._known[batch.recording], max(self.lengths)
        bias = self.biases(flight, batch.rows, known(batch.rows), seconds)
        found = flight.reckon(batch.rows, seconds, bias, self.gravity)
        return cost(found, flight.truth(batch.rows, seconds))

    def report(self, name: str, folder: Path) -> BiasReport:
        """Return what writes the table and the picture of a test."""
        from mambats.odometry.ins.bias_report import BiasReport

        return BiasReport(name, folder)
