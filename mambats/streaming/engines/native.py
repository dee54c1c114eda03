"""Steps of a forecaster by the native library: one call a moment, and numpy only to hold what goes in and comes out."""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Mapping
from operator import is_, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import STAMP, Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.facts import SERIES, ForecastFacts
from mambats.streaming.engines.forecast import FRESH, PENDING, SeriesEngine
from mambats.streaming.engines.library import open_library

_NORM = ("norm.count", "norm.total", "norm.square")
_SKIP = ("skip.values", "skip.observed")
_MOMENT = struct.Struct("q8P").pack


class NativeEngine(SeriesEngine):
    """Step a forecaster through time in the native library: clocks, scaling, encoder, head and units.

    All parts of a state lie in one piece of memory, of which the arrays of the state are views.

    Args:
        body: Content of `native.bin`, from `mambats.bundle.native_file`.
        facts: What the forecaster is.
        identity: sha256 of facts and weights.
        initial: State of the model before any row, of one row.

    Raises:
        ValueError: If there is no library, or it refuses the model.
    """

    def __init__(self, body: bytes, facts: ForecastFacts, identity: str, initial: State) -> None:
        super().__init__(facts, identity)
        self._initial, self._library = initial, open_library()
        why = ctypes.create_string_buffer(200)
        self._model = self._library.mambats_read(body, len(body), why, len(why))
        if not self._model:
            raise ValueError(f"the native library refuses the model: it {why.value.decode()}.")
        weakref.finalize(self, self._library.mambats_close, self._model)
        self._check_facts()
        self._plans: dict[int, _Plan] = {}
        # The state that the last step made, and where it lies: it usually comes back as it left. Held, so that nothing
        # else can come to lie there.
        self._recent: tuple[tuple[npt.NDArray[Any], ...], int] = ((), 0)
        self._plan(1)

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        model = {name: np.repeat(array, rows, 0) for name, array in self._initial.items()}
        clocks = {STAMP: np.zeros(rows, np.int64), PENDING: np.zeros(rows, np.int64), FRESH: np.ones(rows, np.bool_)}
        return {**clocks, **model}

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`."""
        event, rows = events.get(SERIES), len(elapsed_ns)
        if event is None:
            waited = np.where(state[FRESH], 0, state[PENDING] + elapsed_ns)
            return {}, {**state, PENDING: waited}
        plan = self._plans.get(rows) or self._plan(rows)
        before = plan.pick(state)
        held, place = self._recent
        if len(held) != len(before) or not all(map(is_, before, held)):
            before, place = plan.gather(before)
        if event.values.shape != plan.columns or event.observed.shape != plan.columns:
            raise ValueError(f"the row has shape {event.values.shape}, need {plan.columns}: give one value a column.")
        room = np.empty((), plan.room)
        room["values"], room["given"], room["mask"] = event.values, event.observed, event.mask
        room["elapsed"], room["stamps"] = elapsed_ns, state[STAMP]
        forecast = np.empty(plan.shape, np.float32)
        reached = room.ctypes.data
        values, given, mask, stamps, elapsed = plan.inputs
        moment = _MOMENT(
            rows, reached + values, reached + given, reached + mask, reached + stamps, reached + elapsed, place,
            reached, forecast.ctypes.data,
        )  # fmt: skip
        if self._library.mambats_step(self._model, moment):
            raise MemoryError("the native step found no memory for its buffers: give fewer rows.")
        after = {name: room[name] for name in plan.names}
        self._recent = tuple(after.values()), reached
        after[STAMP] = state[STAMP]
        return {"forecast": forecast}, after

    def _plan(self, rows: int) -> _Plan:
        plan = _Plan(rows, self._initial, self.facts)
        if plan.bytes != self._library.mambats_state_bytes(self._model, rows):
            raise ValueError("the state has other parts than the native library's: export again, or take onnx.")
        self._plans = {rows: plan}
        return plan

    def _check_facts(self) -> None:
        """Refuse a file of another model: answers would be written past their end."""
        found, facts = np.zeros(5, np.int64), self.facts
        self._library.mambats_facts(self._model, found.ctypes.data)
        levels = len(facts.quantiles or ())
        wanted = [len(facts.channels), len(facts.past), facts.horizon, levels, facts.period_ns]
        if found.tolist() != wanted:
            raise ValueError(f"the native file is of a model with {found.tolist()}, need {wanted}: export again.")


class _Plan:
    """How a state of so many rows lies in memory, and behind it what goes into a step."""

    def __init__(self, rows: int, initial: State, facts: ForecastFacts) -> None:
        shapes = {PENDING: ((), np.int64), FRESH: ((), np.bool_)}
        shapes |= {name: (array.shape[1:], array.dtype.type) for name, array in initial.items()}
        layers = [name for name in initial if name.startswith("encoder.layers.")]
        clock = [name for name in initial if name.startswith("encoder.clock.")]
        values, flags = [[name for name in _SKIP[k : k + 1] if name in initial] for k in (0, 1)]
        # The order of mambats.h.
        parts = (PENDING, *_NORM, clock[0], *layers, *values, FRESH, clock[1], *flags)
        self.columns = (rows, len(facts.columns))
        formats: list[Any] = [np.dtype((shapes[name][1], (rows, *shapes[name][0]))) for name in parts]
        ends = np.cumsum([form.itemsize for form in formats]).tolist()
        self.bytes: int = ends[-1]
        inputs: dict[str, Any] = {
            "elapsed": np.dtype((np.int64, (rows,))),
            "stamps": np.dtype((np.int64, (rows,))),
            "values": np.dtype((np.float32, self.columns)),
            "given": np.dtype((np.bool_, self.columns)),
            "mask": np.dtype((np.bool_, (rows,))),
        }
        begin = (self.bytes + 7) // 8 * 8
        starts = begin + np.cumsum([0, *(form.itemsize for form in inputs.values())])
        offsets = [0, *ends[:-1], *starts[:-1].tolist()]
        names = [*parts, *inputs]
        self.room = np.dtype(
            {"names": names, "formats": [*formats, *inputs.values()], "offsets": offsets, "itemsize": int(starts[-1])}
        )
        self.inputs = tuple(offsets[names.index(n)] for n in ("values", "given", "mask", "stamps", "elapsed"))
        self.names = (PENDING, FRESH, *initial)
        self.pick = itemgetter(*self.names)
        self.forms = [(name, (rows, *shapes[name][0]), np.dtype(shapes[name][1])) for name in self.names]
        self.shape = (rows, *facts.shape)

    def gather(self, state: tuple[npt.NDArray[Any], ...]) -> tuple[tuple[npt.NDArray[Any], ...], int]:
        """Copy a state that was not made here into one piece of memory.

        Raises:
            ValueError: If an array is not as the library reads it.
        """
        room = np.empty((), self.room)
        for (name, shape, dtype), array in zip(self.forms, state, strict=True):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"the state's {name} is {array.shape} {array.dtype}: need {shape} {dtype}.")
            room[name] = array
        return (room,), room.ctypes.data
