"""Steps of a forecaster by ONNX Runtime, on one thread: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from mambats.streaming.engine import State
from mambats.streaming.engines.forecast import read_by_steps

_STATE, _NEXT = "state.", "next."


class OnnxCore:
    """Compute with ONNX Runtime.

    Args:
        initial: The state before any row, of one row, by name.
        step: The graph of a step, as an ONNX file's bytes.
        prefill: The graph of many rows; None takes them one by one.

    Raises:
        ValueError: If a graph cannot be loaded or has other inputs and outputs than an exported one.
    """

    def __init__(self, initial: State, step: bytes, prefill: bytes | None = None) -> None:
        self._initial = initial
        self._step = _Graph(step, initial)
        self._prefill_bytes, self._prefill = prefill, None

    def init_state(self, rows: int) -> State:
        """Return the model's state before any row."""
        return {name: np.repeat(array, rows, 0) for name, array in self._initial.items()}

    def step(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take one row; see `mambats.streaming.engines.forecast.Core.step`."""
        return self._step(feed, state)

    def read(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take T > 0 rows; see `mambats.streaming.engines.forecast.Core.read`."""
        if self._prefill_bytes is None:
            return read_by_steps(self, feed, state)
        # Made when first asked for: a robot that starts without history never pays for it.
        self._prefill = self._prefill or _Graph(self._prefill_bytes, self._initial)
        return self._prefill(feed, state)


def open_session(graph: bytes) -> Any:
    """Load a graph, to be run on one thread.

    Raises:
        ValueError: If ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    # One thread: a pool of its own would ruin the tail of latencies on a robot's shared cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Matrices stored in fewer bits are made float32 once, on loading, and not in each step.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own kinds have no public base
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {error}. Install a newer onnxruntime, "
            "or export again."
        ) from error


class _Graph:
    """One session, and which of its inputs and outputs is which part of the state."""

    def __init__(self, graph: bytes, initial: State) -> None:
        self._session = open_session(graph)
        self._states = tuple(initial)
        wanted = {_STATE + name for name in initial}
        given = {node.name for node in self._session.get_inputs()}
        made = [node.name for node in self._session.get_outputs()]
        if not wanted <= given or made != ["forecast", *(_NEXT + name for name in initial)]:
            raise ValueError(
                f"the graph reads {sorted(given)} and gives {made}: need the state {sorted(initial)}. Export again."
            )
        self._inputs = given - wanted

    def __call__(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        # A graph has no input for what its model never reads: a calendar of nothing, say.
        given = {name: array for name, array in feed.items() if name in self._inputs}
        given.update({_STATE + name: state[name] for name in self._states})
        forecast, *after = cast("list[npt.NDArray[Any]]", self._session.run(None, given))
        return forecast, dict(zip(self._states, after, strict=True))
