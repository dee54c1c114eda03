"""The parts of a tick that stand outside of its loops, as functions of plain tensors: what is exported of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mambats.bundle.flat_navigator import STATE_PARTS, FlatNavigator, split_bank
from mambats.odometry.mixture import Candidates
from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import NavigatorState
from mambats.series import SensorRows
from mambats.series.state import flatten_state
from mambats.streaming.engines.navigation_facts import ANSWERS, STREAMS, WIDTHS
from mambats.streaming.engines.navigator import name_state, tree_state

_ROWS = 3 * len(STREAMS)
#: Parts of tokens that the end reads: values and which are there of each; of fixes their stamps too.
_TOKENS = ("imu", "wheel", "state", "gnss")


class Begin(nn.Module):
    """Where robots start (B, 10) to the state's tensors."""

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, start: Tensor) -> list[Tensor]:
        """Return the state's tensors in the order of its names."""
        state = name_state(self.flat.begin(start))
        return [state[name] for name in self.flat.names]


class Lay(nn.Module):
    """Rows and state to the filters' states, and to what their moments take, moments first."""

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.flat = flat

    ragged = range(_ROWS)  #: inputs of any number of rows

    def forward(self, *given: Tensor) -> list[Tensor]:
        """Return the filters' 8 tensors, then the columns."""
        bank = tree_state(self.flat.like, dict(zip(self.flat.names, given[_ROWS:], strict=True))).bank
        state, columns = self.flat.lay(rows_of(given), bank)
        return [*state, *columns]


class Show(nn.Module):
    """Rows, state before and the filters' states after, to tokens, candidates and memory."""

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.flat = flat

    ragged = range(_ROWS)  #: inputs of any number of rows

    def forward(self, *given: Tensor) -> list[Tensor]:
        """Return the next state but for the encoder's; zeros (B,) and columns for `Fix`; what `End` reads."""
        end = len(given) - STATE_PARTS
        before = tree_state(self.flat.like, dict(zip(self.flat.names, given[_ROWS:end], strict=True)))
        bank = split_bank(given[end:])
        tokens, found, memory = self.flat.show(rows_of(given), bank, before)
        left = name_state(NavigatorState(bank, memory, before.encoder))
        kept = [left[name] for name in self.flat.names if not name.startswith("encoder.")]
        read = [part for name in _TOKENS for part in (tokens[name].values, tokens[name].mask)]
        parts = [*found.reference, *found[1:]]
        none = torch.zeros_like(given[1][:, 0])
        return [*kept, none, *self.flat.fixes(tokens["gnss"]), *read, tokens["gnss"].stamps, *parts]


class End(nn.Module):
    """What `Show` gave and the encoder's state behind the fixes, to the answer and the encoder's next state."""

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.flat = flat

    ragged = (6, 7, 8)  #: inputs of any number of rows: those of fixes

    def forward(self, *given: Tensor) -> list[Tensor]:
        """Return position, quaternion, velocity, covariance, then the encoder's tensors."""
        tokens = {
            name: SensorRows(given[2 * k], given[2 * k + 1], given[2 * k + 1].float(), given[8])
            for k, name in enumerate(_TOKENS)
        }
        found = Candidates(Navigation(*given[9:13]), *given[13:17])
        passed, leaves = given[17], given[18:]
        estimate, state = self.flat.end(tokens, found, passed, self.flat.encoder_state(leaves))
        return [*(getattr(estimate, name) for name in ANSWERS), *flatten_state(state).values()]


def rows_of(given: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
    """Return rows by stream, of values, stamps and which are there, stream after stream."""
    return {name: given[3 * k : 3 * k + 3] for k, name in enumerate(STREAMS)}


def probe_rows(flat: FlatNavigator, robots: int) -> list[Tensor]:
    """Return rows to trace with: of each stream another number, since equal ones would be taken for one."""
    rows = list[Tensor]()
    for count, name in enumerate(STREAMS, 3):
        rows += [
            torch.zeros(robots, count, WIDTHS[name]),
            (torch.arange(1, count + 1) * (flat.tick_ns // 8)).expand(robots, -1).contiguous(),
            torch.ones(robots, count, dtype=torch.bool),
        ]
    return rows
