"""A navigator by torch: the route that its graph is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.odometry.bank import SIGHTED
from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Navigator, NavigatorState
from mambats.recipe import describe
from mambats.series import SensorRows, SensorWindow
from mambats.series.state import flatten_state, restore_state
from mambats.streaming.engine import Outputs, State
from mambats.streaming.engines.navigation_facts import ANSWERS, navigator_identity, start_of
from mambats.streaming.engines.ticks import TickEngine, TickRows

#: Members of the bank that stand one behind the other; robots come first in a stream's state.
_SIGHTED, _FIX, _FIXED = "bank.sighted.", "memory.fix", "memory.fixed"


class NavigatorEngine(TickEngine):
    """Run a navigator for robots side by side; its numbers are those of `mambats.odometry.online.NavigatorRun`.

    Args:
        model: In evaluation mode, on the CPU.
        start: Where a run starts, px py pz qx qy qz qw vx vy vz in the world; None for the origin, level, facing x, at
            rest. How sure that is, is the model's `start`.

    Raises:
        ValueError: If the start is not ten finite numbers with a quaternion.
    """

    def __init__(self, model: Navigator, start: Sequence[float] | None = None) -> None:
        core, given = TorchTicks(model), start_of(start)
        super().__init__(core, model.bank.tick_ns, given, navigator_identity(describe(model), given, core.weights()))
        self.model = core.model


class TorchTicks:
    """Compute with torch, on the CPU.

    Args:
        model: Set to evaluation mode.
    """

    def __init__(self, model: Navigator) -> None:
        self.model = model.eval().requires_grad_(False)
        self._like = self._begin(start_of(None), 1)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model's weights by name."""
        return {name: v.detach().contiguous().numpy() for name, v in self.model.state_dict().items()}

    def begin(self, start: npt.NDArray[np.float64], rows: int) -> State:
        """Return the state of robots before any row; see `mambats.streaming.engines.ticks.TickCore`."""
        return _arrays(self._begin(start, rows))

    @torch.no_grad()
    def answer(self, rows: TickRows, ticks: int, state: State) -> tuple[Outputs, State]:
        """Take the rows of so many ticks; see `mambats.streaming.engines.ticks.TickCore`."""
        streams = dict[str, SensorRows]()
        for name, parts in rows.items():
            values, stamps, there = (torch.from_numpy(part) for part in parts)
            streams[name] = SensorRows(values, there, there.float(), stamps)
        none = torch.zeros(len(streams["imu"].mask), dtype=torch.int64)
        window = SensorWindow(streams, none, ticks * self.model.bank.tick_ns, none, {})
        before = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}
        estimate, left = self.model(window, tree_state(self._like, before))
        return {name: getattr(estimate, name)[:, -1].double().numpy() for name in ANSWERS}, _arrays(left)

    def _begin(self, start: npt.NDArray[np.float64], rows: int) -> NavigatorState:
        position, quaternion, velocity = (torch.from_numpy(part).expand(rows, -1) for part in np.split(start, [3, 7]))
        return self.model.init_state(Navigation(quaternion, velocity, position, torch.zeros(rows, 9, 9)))


def name_state(state: NavigatorState) -> dict[str, Tensor]:
    """Name every tensor, robots first. No fix yet is a flag, not NaN, which a guard would take for a fault."""
    flat = dict[str, Tensor]()
    for path, leaf in flatten_state(state).items():
        name = path.removeprefix("state.")
        flat[name] = leaf.unflatten(0, (SIGHTED, -1)).transpose(0, 1) if name.startswith(_SIGHTED) else leaf
    fixed = flat[_FIX].isfinite().all(-1)
    return flat | {_FIX: torch.where(fixed[:, None], flat[_FIX], 0.0), _FIXED: fixed}


def tree_state(like: NavigatorState, flat: Mapping[str, Tensor]) -> NavigatorState:
    """Undo `name_state`."""
    leaves = dict[str, Tensor]()
    for path in flatten_state(like):
        name = path.removeprefix("state.")
        leaf = flat[name]
        if name == _FIX:
            leaf = torch.where(flat[_FIXED][:, None], leaf, torch.nan)
        leaves[path] = leaf.transpose(0, 1).flatten(0, 1) if name.startswith(_SIGHTED) else leaf
    return restore_state(like, leaves)


def _arrays(state: NavigatorState) -> State:
    return {name: leaf.contiguous().numpy() for name, leaf in name_state(state).items()}
