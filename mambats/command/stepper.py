"""A trained forecaster, one row at a time: the recurrent mode of `mambats stream`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.command.lines import Line, nanoseconds, number
from mambats.forecast.model import ForecasterState, Rows
from mambats.formats.error import DataError
from mambats.scale import Scaler


@dataclass(frozen=True)
class Inputs:
    """What a model reads beside its channels.

    Args:
        past: Scaler of the covariates known up to now, or None where there are none.
        calendar: Calendar features of the rows and of those to forecast.
    """

    past: Scaler | None = None
    calendar: tuple[str, ...] = ()

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Inputs:
        """Read them from a checkpoint.

        Raises:
            DataError: If the model reads what a row cannot bring: known-future columns or static facts.
        """
        facts = checkpoint.get("WindowDataModule") or {}
        for part in ("future", "static"):
            if facts.get(part):
                raise DataError(
                    f"the model reads {part} columns {list(facts[part]['channels'])}, which a row does not bring: "
                    "train without them to stream."
                )
        past = facts.get("past")
        scaler = None
        if past:
            scaler = Scaler(tuple(past["channels"]))
            scaler.mean.copy_(past["mean"])
            scaler.scale.copy_(past["scale"])
        return cls(scaler, tuple(facts.get("calendar") or ()))


class Stepper:
    """Carry the state of one series and forecast after each row.

    A row that is refused changes nothing: the next good row is answered as if the bad one had not come.

    Args:
        task: A streaming task, from `mambats.checkpoint.load_task`.
        inputs: What the model reads beside its channels.
        time: Name of the time column, or None where rows follow each other regularly.
    """

    def __init__(self, task: Any, inputs: Inputs, time: str | None) -> None:
        self.task, self.inputs, self.time = task, inputs, time
        self.model, self.scaler = task.model, task.scaler
        self.state: ForecasterState = self.model.init_state(1, len(self.scaler.channels))
        self.stamp: int | None = None

    @torch.no_grad()
    def push(self, line: Line, name: str) -> npt.NDArray[np.float64]:
        """Take one row and forecast after it, in the data's units: (K, C), or (K, C, Q) for quantiles.

        Args:
            line: The row.
            name: Name of the file, for messages.

        Raises:
            DataError: If a cell cannot be used; the state stays as it was.
        """
        stamp = self._stamp(line, name)
        forecast, state = self.model.step(self._row(line, name, stamp), self.state)
        values = self._units(forecast)[0]
        if not bool(values.isfinite().all()):
            raise DataError(
                f"{name}, line {line.number}: gives a forecast that is not finite; a value is far out of range. "
                "Correct the row or leave the cell empty."
            )
        self.state, self.stamp = state, stamp
        return values.double().numpy()

    def _stamp(self, line: Line, name: str) -> int | None:
        if self.time is None:
            return None
        where = f"{name}, line {line.number}, column {self.time!r}"
        stamp = nanoseconds(_cell(line, self.time, name), where)
        if self.stamp is not None and stamp <= self.stamp:
            before = np.datetime64(self.stamp, "ns")
            raise DataError(
                f"{where}: time does not rise: {line.cells[self.time]!r} comes after {before}. Sort the rows."
            )
        return stamp

    def _row(self, line: Line, name: str, stamp: int | None) -> Rows:
        values, observed = self._values(line, name, self.scaler)
        gap = 1.0
        if stamp is not None and self.stamp is not None:
            gap = (stamp - self.stamp) / self.task.period_ns
        clock = None if stamp is None else torch.tensor([[stamp // self.task.period_ns]])
        return Rows(
            values,
            torch.tensor([[gap]]),
            observed,
            past=None if self.inputs.past is None else self._values(line, name, self.inputs.past)[0],
            future=self._calendar(stamp),
            clock=clock,
        )

    def _values(self, line: Line, name: str, scaler: Scaler) -> tuple[Tensor, Tensor]:
        """Return scaled values and which were measured, both (1, 1, C)."""
        cells = [
            number(_cell(line, column, name), f"{name}, line {line.number}, column {column!r}")
            for column in scaler.channels
        ]
        observed = torch.tensor([[[not math.isnan(cell) for cell in cells]]])
        raw = torch.tensor([[cells]], dtype=torch.float32)
        return torch.where(observed, scaler.transform(raw), 0.0), observed

    def _calendar(self, stamp: int | None) -> Tensor | None:
        if not self.inputs.calendar or stamp is None:
            return None
        from mambats.data.calendar import calendar_features

        stamps = stamp + self.task.period_ns * np.arange(self.model.horizon + 1, dtype=np.int64)
        return torch.from_numpy(calendar_features(stamps, self.inputs.calendar).T[None])

    def _units(self, forecast: Tensor) -> Tensor:
        if self.model.quantiles is None:
            return self.scaler.inverse(forecast)
        return self.scaler.inverse(forecast.movedim(-1, 0)).movedim(0, -1)


def _cell(line: Line, column: str, name: str) -> Any:
    if column not in line.cells:
        raise DataError(
            f"{name}, line {line.number}: there is no column {column!r}, only {', '.join(line.cells)}. "
            "The model was trained with it: give the same columns."
        )
    return line.cells[column]
