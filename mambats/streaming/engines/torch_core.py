"""Steps of a model by torch: the route that every other one is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.streaming.engine import State
from mambats.streaming.engines.forecast import read_by_steps

if TYPE_CHECKING:
    from mambats.bundle.flat import FlatForecaster


class TorchCore:
    """Compute with torch, one operation after another; on the CPU arrays are lent, not copied.

    Args:
        model: In evaluation mode; it is moved to the device.
        device: Where to compute. A GPU is faster through `CapturedCore`.
    """

    def __init__(self, model: FlatForecaster, device: str = "cpu") -> None:
        self.model, self.device = model.to(device), device

    def init_state(self, rows: int) -> State:
        """Return the model's state before any row."""
        return _arrays(self.model.init_state(rows))

    @torch.no_grad()
    def step(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take one row; see `mambats.streaming.engines.forecast.Core.step`."""
        given, before = self._tensors(feed), self._tensors(state)
        forecast, after = self.model(
            given["x"], given["observed"], given["gap"], given.get("clock"), given.get("future"), before
        )
        return forecast.contiguous().cpu().numpy(), _arrays(after)

    def read(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take T > 0 rows; see `mambats.streaming.engines.forecast.Core.read`."""
        return read_by_steps(self, feed, state)

    def _tensors(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}


def _arrays(state: Mapping[str, Tensor]) -> State:
    # A state may lend a buffer of the next step, or be a view of a larger one: what leaves is its own.
    return {name: leaf.contiguous().cpu().numpy() for name, leaf in state.items()}
