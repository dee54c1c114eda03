"""Several models of one recipe whose surprises are averaged: one model depends on its random start."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mambats.anomaly.rows import Rows, Surprise
from mambats.anomaly.scorer import Scorer
from mambats.recipe import describe, rebuild


class Members(Scorer):
    """Train scorers side by side, alike but for their random start, and average what they say.

    Args:
        scorer: The first.
        count: How many there are.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, scorer: Scorer, count: int = 3) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count is {count}: need at least 1 member.")
        self.scorer, self.count = scorer, count
        self.mode = scorer.mode
        self.others = nn.ModuleList(rebuild(describe(scorer)) for _ in range(count - 1))

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean of the members' losses."""
        return torch.stack([member.loss(rows) for member in self._all()]).mean()

    def init_state(self, batch: int) -> tuple[Any, ...]:
        """Return the members' states before any row; raises `StreamingError` where the model reads ahead."""
        return tuple(member.init_state(batch) for member in self._all())

    def forward(self, rows: Rows, state: Any = None) -> tuple[Surprise, Any]:
        """Return the members' mean surprise and interval of every row, and their states after the last."""
        given = (None,) * self.count if state is None else state
        return self._mean([member(rows, each) for member, each in zip(self._all(), given, strict=True)])

    def step(self, row: Rows, state: Any) -> tuple[Surprise, Any]:
        """Return the mean surprise of one row and the next states."""
        return self._mean([member.step(row, each) for member, each in zip(self._all(), state, strict=True)])

    def _all(self) -> list[Scorer]:
        return [self.scorer, *(cast("Scorer", other) for other in self.others)]

    def _mean(self, found: list[tuple[Surprise, Any]]) -> tuple[Surprise, Any]:
        said = (torch.stack(each).mean(0) for each in zip(*(surprise for surprise, _ in found), strict=True))
        return Surprise(*said), tuple(state for _, state in found)
