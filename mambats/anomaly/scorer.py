"""What a detector asks of a model: a loss to train it by, and a surprise for every row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from mambats.anomaly.rows import Rows, Surprise
from mambats.results import Mode


class StreamingError(ValueError):
    """Raised when a model that reads ahead is asked for a state or a step."""


class Scorer(nn.Module, ABC):
    """Expect rows and say how far they are from it. Causal ones carry a state and have `step`."""

    mode: Mode

    @abstractmethod
    def loss(self, rows: Rows) -> Tensor:
        """Return the training loss, a scalar."""

    @abstractmethod
    def forward(self, rows: Rows, state: Any = None) -> tuple[Surprise, Any]:
        """Return the surprise of every row and the state after the last (None where there is no state)."""

    @abstractmethod
    def init_state(self, batch: int) -> Any:
        """Return the state before any row; raises `StreamingError` where the model reads ahead."""

    @abstractmethod
    def step(self, row: Rows, state: Any) -> tuple[Surprise, Any]:
        """Return the surprise of one row (T = 1) and the next state; raises `StreamingError` as `init_state`."""
