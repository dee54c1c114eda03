"""A navigator on a robot: rows go in as they come, an estimate comes out at every tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Navigator
from mambats.series import SensorRows, SensorWindow

#: Numbers a row of each stream has.
_WIDTHS = {"imu": 6, "gnss": 3, "wheel": 2}


class Answer(NamedTuple):
    """Where the robot is at a tick."""

    stamp_ns: int  #: since the run's start
    estimate: Navigation  #: without batch axis


class NavigatorRun:
    """Run a navigator row by row; rows of all streams come in the order of their stamps.

    A tick is answered when the first row behind it comes, or `advance` says that its time has passed. The numbers are
    those of `Navigator.forward` over windows of one tick.

    Args:
        model: In evaluation mode.
        start: Where the robot is thought to be, without batch axis: quaternion (4,), velocity (3,), position (3,).

    Example:
        run = NavigatorRun(model, start)
        for stream, stamp_ns, values in rows:
            for answer in run.feed(stream, stamp_ns, values):
                print(answer.stamp_ns, answer.estimate.position)
    """

    def __init__(self, model: Navigator, start: Navigation) -> None:
        self.model = model
        self.state = model.init_state(Navigation(*(part[None] for part in start)))
        self.tick_ns, self.begin_ns = model.bank.tick_ns, 0
        self._rows: dict[str, list[tuple[int, Sequence[float]]]] = {name: [] for name in _WIDTHS}

    def feed(self, stream: str, stamp_ns: int, values: Sequence[float]) -> list[Answer]:
        """Take one row.

        Args:
            stream: `imu`, `gnss` or `wheel`.
            stamp_ns: Nanoseconds since the run's start.
            values: As many numbers as the stream has; one that is not finite makes the row count as not measured.

        Returns:
            Answers of the ticks that are over, often none.

        Raises:
            ValueError: If the stream is unknown, the row has another length, or its tick was answered already.
        """
        if stream not in _WIDTHS or len(values) != _WIDTHS[stream]:
            raise ValueError(f"{stream!r} with {len(values)} numbers: a navigator takes rows of {_WIDTHS}.")
        if stamp_ns < self.begin_ns or (stamp_ns == self.begin_ns and stamp_ns):
            raise ValueError(
                f"{stream} at {stamp_ns} ns: all until {self.begin_ns} ns is answered already. Give rows in the order "
                "of their stamps, and call advance only when no earlier row can come."
            )
        answers = self.advance(stamp_ns - 1)
        self._rows[stream].append((stamp_ns, values))
        return answers

    def advance(self, stamp_ns: int) -> list[Answer]:
        """Answer every tick that ends at or before a moment, whether rows came or not."""
        answers = list[Answer]()
        while self.begin_ns + self.tick_ns <= stamp_ns:
            answers.append(self._close())
        return answers

    @torch.no_grad()
    def _close(self) -> Answer:
        window = SensorWindow(
            {name: self._packed(name) for name in _WIDTHS}, torch.zeros(1, dtype=torch.int64), self.tick_ns,
            torch.zeros(1, dtype=torch.int64), {},
        )  # fmt: skip
        estimate, self.state = self.model(window, self.state)
        self._rows = {name: [] for name in _WIDTHS}
        self.begin_ns += self.tick_ns
        return Answer(self.begin_ns, Navigation(*(part[0, 0] for part in estimate)))

    def _packed(self, name: str) -> SensorRows:
        """The tick's rows of a stream, as a batch of one."""
        rows = self._rows[name]
        values = torch.tensor([list(v) for _, v in rows], dtype=torch.float32).reshape(1, len(rows), _WIDTHS[name])
        mask = values.isfinite().all(-1)
        stamps = torch.tensor([[stamp - self.begin_ns for stamp, _ in rows]], dtype=torch.int64).reshape(1, len(rows))
        return SensorRows(values, mask, mask.float(), stamps)
