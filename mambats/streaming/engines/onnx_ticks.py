"""A navigator by ONNX Runtime, on one thread: no torch. A graph takes one tick of one robot."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import Outputs, State
from mambats.streaming.engines.navigation_facts import ANSWERS, PARTS, STREAMS, WIDTHS
from mambats.streaming.engines.onnx_core import open_session
from mambats.streaming.engines.ticks import TickRows

_STATE, _NEXT = "state.", "next."


class OnnxTicks:
    """Compute with ONNX Runtime.

    Args:
        names: Of the state's arrays, in the graphs' order.
        step: The graph of a tick, as an ONNX file's bytes.
        begin: The graph of where a run begins.
        tick_ns: Nanoseconds of a tick.

    Raises:
        ValueError: If a graph cannot be loaded or has other inputs and outputs than an exported one.
    """

    def __init__(self, names: tuple[str, ...], step: bytes, begin: bytes, tick_ns: int) -> None:
        self._names, self._tick_ns = names, tick_ns
        self._step, self._begin = open_session(step), open_session(begin)
        rows = {f"{name}.{part}" for name in STREAMS for part in PARTS}
        after = {_NEXT + name for name in names}
        for session, reads, gives in (
            (self._step, rows | {_STATE + name for name in names}, after | set(ANSWERS)),
            (self._begin, {"start"}, after),
        ):
            found = ({node.name for node in session.get_inputs()}, {node.name for node in session.get_outputs()})
            if found != (reads, gives):
                raise ValueError(
                    f"the graph reads {sorted(found[0])} and gives {sorted(found[1])}: need {sorted(reads)} and "
                    f"{sorted(gives)}. Export again."
                )
        self._gives = [node.name for node in self._step.get_outputs()]

    def begin(self, start: npt.NDArray[np.float64], rows: int) -> State:
        """Return the state of robots before any row; see `mambats.streaming.engines.ticks.TickCore`."""
        made = cast("list[npt.NDArray[Any]]", self._begin.run(None, {"start": start[None]}))
        named = dict(zip((node.name for node in self._begin.get_outputs()), made, strict=True))
        return {name: np.repeat(named[_NEXT + name], rows, 0) for name in self._names}

    def answer(self, rows: TickRows, ticks: int, state: State) -> tuple[Outputs, State]:
        """Take the rows of so many ticks, robot by robot; see `mambats.streaming.engines.ticks.TickCore`."""
        robots = len(rows["imu"][2])
        made = [self._robot(rows, ticks, state, robot) for robot in range(robots)]
        outputs = {name: np.concatenate([one[name] for one in made]) for name in ANSWERS}
        return outputs, {name: np.concatenate([one[_NEXT + name] for one in made]) for name in self._names}

    def _robot(self, rows: TickRows, ticks: int, state: State, robot: int) -> dict[str, npt.NDArray[Any]]:
        before = {_STATE + name: state[name][robot : robot + 1] for name in self._names}
        found = dict[str, npt.NDArray[Any]]()
        for tick in range(ticks):
            feed = self._feed(rows, robot, tick)
            found = dict(zip(self._gives, self._step.run(None, feed | before), strict=True))
            before = {_STATE + name: found[_NEXT + name] for name in self._names}
        return found

    def _feed(self, rows: TickRows, robot: int, tick: int) -> dict[str, npt.NDArray[Any]]:
        """The rows of one tick, with one behind them that is not there: a graph takes no empty axis."""
        feed = dict[str, npt.NDArray[Any]]()
        begin = tick * self._tick_ns
        for name in STREAMS:
            values, stamps, there = (part[robot] for part in rows[name])
            inside = there & (stamps <= begin + self._tick_ns) & ((stamps > begin) | (tick == 0))
            count = int(inside.sum())
            parts = (np.zeros((1, count + 1, WIDTHS[name]), np.float32), np.zeros((1, count + 1), np.int64))
            parts[0][0, :count], parts[1][0, :count] = values[inside], stamps[inside] - begin
            mask = np.arange(count + 1)[None] < count
            feed.update({f"{name}.{part}": array for part, array in zip(PARTS, (*parts, mask), strict=True)})
        return feed
