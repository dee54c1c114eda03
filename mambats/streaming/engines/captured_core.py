"""Steps of a forecaster on a GPU behind a stream: a recorded graph, and the state back on the host after each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.streaming.engine import State
from mambats.streaming.engines.captured import CapturedForecaster

if TYPE_CHECKING:
    from mambats.bundle.flat import FlatForecaster


class CapturedCore:
    """Compute by `CapturedForecaster`, arrays in and out.

    A stream goes back to earlier states, guards them, keeps single robots and saves them, so every step hands its state
    out: one copy a dtype into new page-locked memory. What it is handed is copied in only if it is not what it gave
    last. The first step of a number of rows records the graph, which takes seconds where kernels are compiled.

    Args:
        model: In evaluation mode; it is moved to the device.
        device: A GPU; on `cpu` the same buffers, and operations one by one.

    Raises:
        ValueError: If torch sees no such device.
    """

    def __init__(self, model: FlatForecaster, device: str = "cuda") -> None:
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device}, and torch {torch.__version__} sees no CUDA device here: take cpu.")
        self.model, self.device = model.to(device), device
        self._captured = dict[int, CapturedForecaster]()
        self._staging = dict[int, dict[str, Tensor]]()
        self._last = dict[int, State]()

    def init_state(self, rows: int) -> State:
        """Return the model's state before any row."""
        return {name: leaf.contiguous().cpu().numpy() for name, leaf in self.model.init_state(rows).items()}

    @torch.no_grad()
    def step(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take one row; see `mambats.streaming.engines.forecast.Core.step`."""
        rows = len(feed["x"])
        captured = self._load(rows, state)
        for name, staged in self._staging[rows].items():
            staged.copy_(torch.from_numpy(feed[name]))
            captured.inputs[name].copy_(staged, non_blocking=True)
        captured.replay()
        return self._hand_out(rows, captured)

    @torch.no_grad()
    def read(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take T > 0 rows; the state stays on the device until the last. See `Core.read`."""
        rows = feed["x"].shape[1]
        captured = self._load(rows, state)
        given = {name: torch.from_numpy(feed[name]).to(self.device) for name in captured.inputs}
        for moment in range(len(feed["x"])):
            for name, buffer in captured.inputs.items():
                buffer.copy_(given[name][moment])
            captured.replay()
        return self._hand_out(rows, captured)

    def _load(self, rows: int, state: State) -> CapturedForecaster:
        """Put a state where the graph reads it, unless it stands there since the step before."""
        if rows not in self._captured:
            self._captured[rows] = made = CapturedForecaster(self.model, rows)
            self._staging[rows] = {
                name: torch.empty(part.shape, dtype=part.dtype, pin_memory=part.is_cuda)
                for name, part in made.inputs.items()
            }
        captured, last = self._captured[rows], self._last.get(rows, {})
        if not last or any(state[name] is not array for name, array in last.items()):
            captured.state.write({name: torch.from_numpy(state[name]) for name in captured.state.leaves})
        return captured

    def _hand_out(self, rows: int, captured: CapturedForecaster) -> tuple[npt.NDArray[np.float32], State]:
        forecast = torch.empty(captured.forecast.shape, pin_memory=captured.forecast.is_cuda)
        forecast.copy_(captured.forecast, non_blocking=True)
        made = captured.state.to_host()
        if captured.forecast.is_cuda:
            torch.cuda.current_stream().synchronize()
        self._last[rows] = state = {name: leaf.numpy() for name, leaf in made.items()}
        return forecast.numpy(), state
