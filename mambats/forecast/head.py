"""Heads that turn the last token into all steps of the horizon at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mambats.protocols import Head


class DirectHead(Head):
    """Forecast every step of the horizon from one token, as a point or as quantiles that cannot cross.

    Quantiles are the middle one plus (or minus) running sums of softplus increments, so they are ordered by
    construction. Covariates known in advance enter bilinearly: what the state says of each of `rank` patterns times
    what the covariates of that step say of it; static facts shift the token.

    Args:
        width: Width of the token.
        horizon: Steps to forecast, K.
        outputs: Series forecast from one token: 1 for channel-independent models, C for channel-mixing ones.
        quantiles: Levels in (0, 1), rising, or None for a point forecast.
        future: Number of covariates known in advance, F.
        static: Number of static facts, S.
        rank: Patterns through which the state meets the covariates known in advance.
        dropout: Share of the token dropped in training.

    Raises:
        ValueError: If quantiles do not rise inside (0, 1).
    """

    def __init__(
        self,
        width: int,
        horizon: int,
        *,
        outputs: int = 1,
        quantiles: Sequence[float] | None = None,
        future: int = 0,
        static: int = 0,
        rank: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.horizon, self.outputs = width, horizon, outputs
        self.quantiles = None if quantiles is None else tuple(quantiles)
        self.future, self.static, self.rank, self.dropout = future, static, rank, dropout
        levels = self.quantiles or (0.5,)
        if any(not 0 < q < 1 for q in levels) or any(a >= b for a, b in pairwise(levels)):
            raise ValueError(f"quantiles are {levels}: need levels that rise inside (0, 1).")
        self.middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
        self.drop = nn.Dropout(dropout)
        self.project = nn.Linear(width, horizon * outputs * len(levels))
        self.facts = nn.Linear(static, width) if static else None
        self.patterns = nn.Linear(width, rank * outputs) if future else None
        self.calendar = nn.Linear(future, rank) if future else None

    def forward(self, token: Tensor, future: Tensor | None = None, static: Tensor | None = None) -> Tensor:
        """Forecast from token (..., width), future (..., K, F) and static (..., S).

        Returns:
            (..., K, outputs) for a point, (..., K, outputs, Q) for quantiles, in the units of the normaliser.
        """
        if self.facts is not None:
            token = token + self.facts(_need(static, "static", self.static))
        token = self.drop(token)
        raw = self.project(token).unflatten(-1, (self.horizon, self.outputs, -1))
        middle = raw[..., self.middle]
        if self.patterns is not None and self.calendar is not None:
            weight = self.patterns(token).unflatten(-1, (self.outputs, self.rank))  # (..., O, R)
            known = self.calendar(_need(future, "future", self.future))  # (..., K, R)
            middle = middle + known @ weight.transpose(-1, -2)
        return middle if self.quantiles is None else self._spread(middle, raw)

    def _spread(self, middle: Tensor, raw: Tensor) -> Tensor:
        steps = nn.functional.softplus(raw)
        above = middle[..., None] + steps[..., self.middle + 1 :].cumsum(-1)
        below = middle[..., None] - steps[..., : self.middle].flip(-1).cumsum(-1).flip(-1)
        return torch.cat([below, middle[..., None], above], -1)


def _need(given: Tensor | None, name: str, size: int) -> Tensor:
    if given is None or given.shape[-1] != size:
        shape = None if given is None else tuple(given.shape)
        raise ValueError(f"the head was built for {size} {name} covariates, the batch has {shape}: match the data.")
    return given
