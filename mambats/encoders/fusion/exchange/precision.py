"""Estimates of streams combined by their precision, older ones widened by their age."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard
from mambats.encoders.fusion.plan import others


@dataclass(frozen=True)
class PrecisionSettings(ExchangeSettings):
    """Settings of a combination by precision.

    Args:
        asking: Numbers of the streams that measure nothing: they have no estimate of their own.
    """

    asking: tuple[int, ...] = ()

    def build(self, streams: int, width: int) -> Precision:
        """Make a combination by precision."""
        return Precision(streams, width, self)


class Precision(Exchange):
    """Combine latent normal distributions, one a stream: a product of Gaussians with a prior N(0, 1).

    A token of stream j says a mean m_j and a log precision log p_j. After a reference periods its variance has grown
    to 1 / p_j + q_j a, as a random walk's. Then p = 1 + sum p_j(a) and m = sum p_j(a) m_j / p, number by number.

    Args:
        streams: Number of streams S.
        width: Width D of the tokens and numbers of the latent distribution.
        settings: Which streams only ask.
    """

    _measures: Tensor
    _others: Tensor

    def __init__(self, streams: int, width: int, settings: PrecisionSettings) -> None:
        super().__init__()
        self.streams = streams
        self.width = width
        self.settings = settings
        self.said = 2 * width
        self.estimates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(streams))
        # A variance grows by softplus(-4) = 0.018 a period at first: an estimate of precision 1 halves in 55 periods.
        self.growth = nn.Parameter(torch.full((streams, width), -4.0))
        self.out = nn.Linear(2 * width, width)
        measures = [stream not in settings.asking for stream in range(streams)]
        self.register_buffer("_measures", torch.tensor(measures), persistent=False)
        self.register_buffer("_others", others(streams), persistent=False)

    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return mean and variance, shape (..., 2 D)."""
        mean, log_precision = self.estimates[stream](normal).chunk(2, -1)
        # Bounded, so that neither a variance nor a precision overflows: e^15 is 3e6.
        return torch.cat([mean, torch.exp(-log_precision.clamp(-15, 15))], -1)

    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Return a token made of the combined mean and log precision; the stream's own token is in there."""
        means, precisions = self._all(stream, normal, heard)
        total = 1 + precisions.sum(-2)
        mean = (precisions * means).sum(-2) / total
        return self.out(torch.cat([mean, total.log()], -1))

    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return each stream's share of the precision, mean over the numbers; what lacks to 1 is the prior's."""
        _, precisions = self._all(stream, normal, heard)
        return (precisions / (1 + precisions.sum(-2, keepdim=True))).mean(-1)

    def _all(self, stream: int, normal: Tensor, heard: Heard) -> tuple[Tensor, Tensor]:
        """Return means and precisions now, of the others and then the stream itself, shape (..., S, D)."""
        said = torch.cat([heard.said, self.say(stream, normal).unsqueeze(-2)], -2)
        means, variance = said.chunk(2, -1)
        found, ages = heard.ages.found, heard.ages.log
        own = torch.zeros_like(ages[..., :1])
        periods = torch.cat([ages, own], -1).expm1().unsqueeze(-1).to(said.dtype)
        there = (torch.cat([found, own.bool() | self._measures[stream]], -1) & self._known(stream)).unsqueeze(-1)
        grown = torch.addcmul(torch.where(there, variance, 1), F.softplus(self._growth(stream)), periods)
        return means, there / grown

    def _growth(self, stream: int) -> Tensor:
        """Return the growth of the others and then of the stream itself, shape (S, D)."""
        return torch.cat([self.growth.index_select(0, self._others[stream]), self.growth[stream : stream + 1]])

    def _known(self, stream: int) -> Tensor:
        """Say of the others and then of the stream itself which measure, shape (S,) bool."""
        return torch.cat([self._measures.index_select(0, self._others[stream]), self._measures[stream : stream + 1]])
