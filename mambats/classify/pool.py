"""From tokens to one vector a case: the last token, their mean, or an average that the model weighs itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class PoolState(NamedTuple):
    """What a pool carries along a stream.

    Attributes:
        vector: Sum of weighted tokens, or the last token, shape (B, width).
        weight: Sum of the weights, relative to exp(level), shape (B,).
        level: Largest score so far, shape (B,).
    """

    vector: Tensor
    weight: Tensor
    level: Tensor


class Pool(nn.Module, ABC):
    """Make one vector of the tokens of a case; over a whole case, or row by row with the same numbers."""

    @abstractmethod
    def score(self, tokens: Tensor) -> Tensor:
        """Return the logarithm of each token's weight, tokens (..., width) to (...)."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool tokens (B, T, width) of the rows where mask (B, T) is True: (B, width), zeros where there is none."""
        score = self.score(tokens)
        if mask is not None:
            score = torch.where(mask, score, -torch.inf)
        top = score.amax(1, keepdim=True).clamp_min(torch.finfo(score.dtype).min)
        weight = (score - top).exp()
        return (weight.unsqueeze(-1) * tokens).sum(1) / weight.sum(1, keepdim=True).clamp_min(1e-30)

    def init_state(self, batch: int, width: int, like: Tensor) -> PoolState:
        """Return the state before any token, on the device of `like`."""
        zero = like.new_zeros(batch)
        return PoolState(like.new_zeros(batch, width), zero, torch.full_like(zero, torch.finfo(like.dtype).min))

    def step(self, token: Tensor, mask: Tensor | None, state: PoolState) -> tuple[Tensor, PoolState]:
        """Take one token (B, width); rows where mask (B,) is False keep their state. Returns the pooled vector."""
        score = self.score(token)
        if mask is not None:
            score = torch.where(mask, score, -torch.inf)
        level = torch.maximum(state.level, score)
        old, new = (state.level - level).exp(), (score - level).exp()
        vector = old[:, None] * state.vector + new[:, None] * token
        state = PoolState(vector, old * state.weight + new, level)
        return vector / state.weight.clamp_min(1e-30)[:, None], state


class MeanToken(Pool):
    """The mean of the tokens."""

    def score(self, tokens: Tensor) -> Tensor:
        """Weigh all alike."""
        return tokens.new_zeros(tokens.shape[:-1])


class AttentionPool(Pool):
    """A mean with weights exp(w x), learned; it starts as the plain mean.

    Args:
        width: Width of the tokens.

    Source: Ilse et al., Attention-based Deep Multiple Instance Learning, 2018, equation 7, with a linear score.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weigh = nn.Linear(width, 1)
        nn.init.zeros_(self.weigh.weight)

    def score(self, tokens: Tensor) -> Tensor:
        """Return the learned score of each token."""
        return self.weigh(tokens).squeeze(-1)


class LastToken(Pool):
    """The last token that is there."""

    def score(self, tokens: Tensor) -> Tensor:
        """Return nothing: the last token is chosen, not weighed."""
        raise NotImplementedError("the last token is chosen by its place.")

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the last token where mask is True, (B, width); zeros where there is none."""
        if mask is None:
            return tokens[:, -1]
        place = torch.where(mask, torch.arange(mask.shape[1], device=mask.device), -1).amax(1)
        token = tokens.gather(1, place.clamp_min(0)[:, None, None].expand(-1, 1, tokens.shape[2]))[:, 0]
        return torch.where((place >= 0)[:, None], token, 0)

    def step(self, token: Tensor, mask: Tensor | None, state: PoolState) -> tuple[Tensor, PoolState]:
        """Take one token (B, width), where mask is True."""
        vector = token if mask is None else torch.where(mask[:, None], token, state.vector)
        return vector, state._replace(vector=vector)
