"""Rows that a navigator is recorded on, and how far an engine is off from what was recorded; no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import STAMP, State, StepEvent
from mambats.streaming.engines.navigation_facts import ANSWERS, QUERY, STREAMS, WIDTHS
from mambats.streaming.engines.ticks import TickEngine

Arrays = dict[str, npt.NDArray[Any]]
#: Rows of each stream a tick, and what they are about: a unit at rest, fixes near the start, slow wheels.
_RATES = {"imu": 20, "gnss": 1, "wheel": 5}
_MEAN = {"imu": (0, 0, 0.1, 0, 0, 9.8), "gnss": (0, 0, 0), "wheel": (0.5, 0.1)}
_SPREAD = {"imu": 0.1, "gnss": 0.5, "wheel": 0.05}


def record_ticks(engine: TickEngine, seed: int = 0, ticks: int = 30, rows: int = 1) -> Arrays:
    """Draw rows, some at the very ends of ticks, some absent, whole streams gone for a while; record the answers.

    Args:
        engine: The one that others are held to.
        seed: Of the draw.
        ticks: How many.
        rows: Robots side by side.

    Returns:
        Inputs, answers and the state at the end, by name.
    """
    draw, given = np.random.default_rng(seed), Arrays()
    for name in STREAMS:
        count = ticks * _RATES[name]
        period = engine.tick_ns // _RATES[name]
        stamps = np.arange(1, count + 1) * period - draw.integers(0, period // 2, count) * (draw.random(count) < 0.5)
        there = draw.random((count, rows)) < 0.9
        begin = draw.integers(0, count * 2 // 3)
        there[begin : begin + count // 4, 0] = False
        noise = draw.standard_normal((count, rows, WIDTHS[name])) * _SPREAD[name]
        values = (np.array(_MEAN[name]) + noise).astype(np.float32)
        given |= {f"{name}.stamps": stamps.astype(np.int64), f"{name}.there": there, f"{name}.values": values}
    given["ticks"] = np.array([ticks], np.int64)
    answers, last = replay_ticks(engine, given)
    return {**given, **answers, **{f"last.{name}": array for name, array in last.items()}}


def replay_ticks(engine: TickEngine, given: Arrays) -> tuple[Arrays, State]:
    """Step through recorded rows: answers (T, rows, ...), and the state at the end."""
    rows, ticks = given["imu.there"].shape[1], int(given["ticks"][0])
    begin = 1_700_000_000 * 10**9 // engine.tick_ns * engine.tick_ns
    state, answers = engine.init_state(rows), {name: list[npt.NDArray[Any]]() for name in ANSWERS}
    moments = {int(stamp) for name in STREAMS for stamp in given[f"{name}.stamps"]}
    moments |= {engine.tick_ns * (tick + 1) for tick in range(ticks)}
    for stamp in sorted(moments):
        events = dict[str, StepEvent]()
        for name in STREAMS:
            for at in np.flatnonzero(given[f"{name}.stamps"] == stamp):
                values = given[f"{name}.values"][at]
                events[name] = StepEvent(values, np.ones_like(values, np.bool_), given[f"{name}.there"][at])
        if stamp % engine.tick_ns == 0:
            nothing = np.zeros((rows, 0), np.float32)
            events[QUERY] = StepEvent(nothing, nothing.astype(np.bool_), np.ones(rows, np.bool_))
        state = {**state, STAMP: np.full(rows, begin + stamp)}
        outputs, state = engine.step(events, np.zeros(rows, np.int64), state)
        for name, array in outputs.items():
            answers[name].append(array)
    return {name: np.stack(made) for name, made in answers.items()}, state


def tick_pairs(engine: TickEngine, recorded: Arrays) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return what an engine gives beside what was recorded: answers, and the state at the end."""
    answers, last = replay_ticks(engine, recorded)
    pairs = [(answers[name], recorded[name]) for name in ANSWERS]
    return pairs + [(array, recorded[f"last.{name}"]) for name, array in last.items() if not name.startswith("rows.")]
