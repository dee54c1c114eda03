"""Rows that wait in an engine's state until it reads them together: of each stream so many, robots side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mambats.streaming.engine import BoolArray, FloatArray, Int64Array, State, StepEvent


class WaitingRows(NamedTuple):
    """The rows of one stream that wait, of n robots, padded behind to the longest.

    Args:
        values: Shape (n, T, C), 0 where not observed.
        observed: Which were measured, shape (n, T, C).
        mask: Which rows there are, shape (n, T).
        passed: Nanoseconds since a moment of each robot, shape (n, T); 0 where there is no row.
    """

    values: FloatArray
    observed: BoolArray
    mask: BoolArray
    passed: Int64Array


class Waiting:
    """Keep rows in a state, under `rows.STREAM.*`.

    Args:
        room: Channels of each stream and how many of its rows there is room for, by name.
    """

    def __init__(self, room: Mapping[str, tuple[int, int]]) -> None:
        self.room = dict(room)

    def init_state(self, rows: int) -> State:
        """Return the part of the state before any row."""
        state = State()
        for name, (width, room) in self.room.items():
            state[f"rows.{name}.values"] = np.zeros((rows, room, width), np.float32)
            state[f"rows.{name}.observed"] = np.zeros((rows, room, width), np.bool_)
            state[f"rows.{name}.stamps"] = np.zeros((rows, room), np.int64)
            state[f"rows.{name}.count"] = np.zeros(rows, np.int64)
        return state

    def keep(self, state: State, name: str, event: StepEvent, stamps: Int64Array) -> None:
        """Put a stream's row behind those that wait, in new arrays of `state`.

        Raises:
            ValueError: If there is no room.
        """
        here, room = np.flatnonzero(event.mask), self.room[name][1]
        at = state[f"rows.{name}.count"][here]
        if (at >= room).any():
            raise ValueError(
                f"{name}: more than {room} rows came before they could be read. "
                "Ask more often, or give the engine more room."
            )
        for part, rows in (("values", event.values), ("observed", event.observed), ("stamps", stamps)):
            array = state[f"rows.{name}.{part}"].copy()
            array[here, at] = rows[here]
            state[f"rows.{name}.{part}"] = array
        state[f"rows.{name}.count"] = state[f"rows.{name}.count"] + event.mask

    def read(self, state: State, name: str, chosen: Int64Array, begin: Int64Array) -> WaitingRows:
        """Return the rows of a stream that wait, of some robots (n,), with stamps since `begin` (n,)."""
        count = state[f"rows.{name}.count"][chosen]
        most = int(count.max(initial=0))
        mask = np.arange(most) < count[:, None]
        values, observed, stamps = (
            state[f"rows.{name}.{part}"][chosen, :most] for part in ("values", "observed", "stamps")
        )
        observed = observed & mask[..., None]
        values = np.where(observed, values, np.float32(0))
        return WaitingRows(values, observed, mask, np.where(mask, stamps - begin[:, None], 0))

    def clear(self, state: State, here: BoolArray) -> None:
        """Forget the rows of some robots, in new arrays of `state`."""
        for name in self.room:
            state[f"rows.{name}.count"] = np.where(here, 0, state[f"rows.{name}.count"])
