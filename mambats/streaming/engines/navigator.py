"""The navigator behind the contract of `mambats.streaming.engine`: rows are kept until a tick asks, then it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Navigator, NavigatorState
from mambats.recipe import describe
from mambats.series import SensorRows, SensorWindow
from mambats.series.state import flatten_state, restore_state
from mambats.streaming.engine import STAMP, BoolArray, Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.facts import fingerprint

QUERY, BEGIN, FRESH = "query", "begin_ns", "fresh"
_WIDTHS = {"imu": 6, "gnss": 3, "wheel": 2}
#: Rows of each stream that are kept between two ticks: 10 kHz for a tick of 0.1 s, far more than any such sensor gives.
_ROOM = {"imu": 1000, "gnss": 100, "wheel": 1000}
_SHAPES = {"position": (3,), "quaternion": (4,), "velocity": (3,), "covariance": (9, 9)}
#: Members of the bank that stand one behind the other; robots come first in a stream's state.
_SIGHTED, _MEMORY_FIX, _MEMORY_FIXED = "bank.sighted.", "memory.fix", "memory.fixed"


class NavigatorEngine:
    """Run a navigator for robots side by side.

    Rows of sensors are kept in the state; an event of the empty stream `query`, put in at whole ticks by the runner,
    answers with the estimate at that moment. The numbers are those of `mambats.odometry.online.NavigatorRun`. The first
    tick of a robot begins one tick before its first query; rows before that are not read. All that is needed of time is
    `stamp_ns` in the state.

    Args:
        model: In evaluation mode, on the CPU.
        start: Where a run starts, px py pz qx qy qz qw vx vy vz in the world; None for the origin, level, facing x, at
            rest. How sure that is, is the model's `start`.

    Raises:
        ValueError: If the start is not ten finite numbers with a quaternion.
    """

    def __init__(self, model: Navigator, start: Sequence[float] | None = None) -> None:
        given = np.array(start if start is not None else [0, 0, 0, 0, 0, 0, 1, 0, 0, 0], np.float64)
        if given.shape != (10,) or not np.isfinite(given).all() or not np.linalg.norm(given[3:7]) > 0:
            raise ValueError(f"start is {start}: need px py pz qx qy qz qw vx vy vz, with a quaternion that is not 0.")
        given[3:7] /= np.linalg.norm(given[3:7])
        self.model, self.start = model.eval().requires_grad_(False), given
        self.tick_ns: int = model.bank.tick_ns
        self.streams: Mapping[str, int] = {**_WIDTHS, QUERY: 0}
        self.outputs: Mapping[str, tuple[int, ...]] = _SHAPES
        weights = {name: v.detach().contiguous().numpy() for name, v in model.state_dict().items()}
        self.identity = fingerprint({"model": describe(model), "start": given.tolist()}, weights)
        self._like = self._begin(1)

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        state: State = {
            STAMP: np.zeros(rows, np.int64),
            BEGIN: np.zeros(rows, np.int64),
            FRESH: np.ones(rows, np.bool_),
        }
        for name, width in _WIDTHS.items():
            state[f"rows.{name}.values"] = np.zeros((rows, _ROOM[name], width), np.float32)
            state[f"rows.{name}.stamps"] = np.zeros((rows, _ROOM[name]), np.int64)
            state[f"rows.{name}.there"] = np.zeros((rows, _ROOM[name]), np.bool_)
            state[f"rows.{name}.count"] = np.zeros(rows, np.int64)
        return {**state, **_flat(self._begin(rows))}

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`.

        Raises:
            ValueError: If more rows came between two ticks than are kept.
        """
        after = dict(state)
        for name in _WIDTHS:
            if name in events:
                _keep(after, name, events[name])
        asked = events.get(QUERY)
        if asked is None or not asked.mask.any():
            return {}, after
        return self._answer(after, asked.mask)

    def _begin(self, rows: int) -> NavigatorState:
        position, quaternion, velocity = (
            torch.from_numpy(part).expand(rows, -1) for part in np.split(self.start, [3, 7])
        )
        return self.model.init_state(Navigation(quaternion, velocity, position, torch.zeros(rows, 9, 9)))

    @torch.no_grad()
    def _answer(self, state: State, asked: BoolArray) -> tuple[Outputs, State]:
        """Answer for the rows that ask, those that waited equally long together."""
        rows = len(asked)
        begin = np.where(state[FRESH], state[STAMP] - self.tick_ns, state[BEGIN])
        ticks = (state[STAMP] - begin) // self.tick_ns
        outputs = {name: np.zeros((rows, *shape)) for name, shape in _SHAPES.items()}
        after = {name: array if name.startswith("rows.") else array.copy() for name, array in state.items()}
        for waited in np.unique(ticks[asked]):
            chosen = np.flatnonzero(asked & (ticks == waited))
            if waited < 1:
                continue  # asked again within a tick: nothing new to say
            window = self._window(state, chosen, begin[chosen], int(waited) * self.tick_ns)
            before = _tree(self._like, {name: state[name][chosen] for name in state})
            estimate, left = self.model(window, before)
            for name in _SHAPES:
                outputs[name][chosen] = getattr(estimate, name)[:, -1].double().numpy()
            for name, array in _flat(left).items():
                after[name][chosen] = array
            after[BEGIN][chosen] = begin[chosen] + waited * self.tick_ns
        after[FRESH] = state[FRESH] & ~asked
        for name in _WIDTHS:
            after[f"rows.{name}.count"] = np.where(asked, 0, state[f"rows.{name}.count"])
        return outputs, after

    def _window(self, state: State, chosen: Int64Array, begin: Int64Array, length_ns: int) -> SensorWindow:
        streams = {name: _packed(state, name, chosen, begin, length_ns) for name in _WIDTHS}
        none = torch.zeros(len(chosen), dtype=torch.int64)
        return SensorWindow(streams, none, length_ns, none, {})


def _keep(state: State, name: str, event: StepEvent) -> None:
    """Put a row behind those that wait, in new arrays."""
    values, stamps, there, count = (state[f"rows.{name}.{part}"] for part in ("values", "stamps", "there", "count"))
    here = np.flatnonzero(event.mask)
    at = count[here]
    if (at >= stamps.shape[1]).any():
        raise ValueError(f"{name}: more than {stamps.shape[1]} rows came between two ticks. Ask more often.")
    values, stamps, there, count = values.copy(), stamps.copy(), there.copy(), count.copy()
    values[here, at], stamps[here, at] = event.values[here], state[STAMP][here]
    # A row of which part was not measured counts as none: filters take whole rows.
    there[here, at] = event.observed[here].all(-1)
    count[here] += 1
    for part, array in (("values", values), ("stamps", stamps), ("there", there), ("count", count)):
        state[f"rows.{name}.{part}"] = array


def _packed(state: State, name: str, chosen: Int64Array, begin: Int64Array, length_ns: int) -> SensorRows:
    """The waiting rows of a stream, as a window has them."""
    count = state[f"rows.{name}.count"][chosen]
    most = int(count.max())
    values, stamps, there = (state[f"rows.{name}.{part}"][chosen, :most] for part in ("values", "stamps", "there"))
    passed = stamps - begin[:, None]
    mask = there & (np.arange(most) < count[:, None]) & (passed >= 0) & (passed <= length_ns)
    passed = np.where(mask, passed, 0)
    found = torch.from_numpy(mask)
    return SensorRows(
        torch.from_numpy(np.where(mask[..., None], values, np.float32(0))),
        found,
        found.float(),
        torch.from_numpy(passed),
    )


def _flat(state: NavigatorState) -> State:
    """Name every array, robots first. No fix yet is a flag, not NaN, which a guard would take for a fault."""
    flat = State()
    for path, leaf in flatten_state(state).items():
        name = path.removeprefix("state.")
        if name.startswith(_SIGHTED):
            leaf = leaf.unflatten(0, (3, -1)).transpose(0, 1)
        flat[name] = leaf.contiguous().numpy()
    fix = flat[_MEMORY_FIX]
    there = np.isfinite(fix)
    flat[_MEMORY_FIXED] = there[:, 0] & there[:, 1] & there[:, 2]
    flat[_MEMORY_FIX] = np.where(flat[_MEMORY_FIXED][:, None], fix, 0.0)
    return flat


def _tree(like: NavigatorState, flat: Mapping[str, npt.NDArray[Any]]) -> NavigatorState:
    """Build the model's state of named arrays."""
    leaves = dict[str, Tensor]()
    for path in flatten_state(like):
        name = path.removeprefix("state.")
        array = flat[name]
        if name == _MEMORY_FIX:
            array = np.where(flat[_MEMORY_FIXED][:, None], array, np.nan)
        leaf = torch.from_numpy(np.ascontiguousarray(array))
        leaves[path] = leaf.transpose(0, 1).flatten(0, 1) if name.startswith(_SIGHTED) else leaf
    return restore_state(like, leaves)
