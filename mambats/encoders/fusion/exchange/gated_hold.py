"""Each token adds what the other streams last said, each through a gate that knows its age."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard


@dataclass(frozen=True)
class GatedHoldSettings(ExchangeSettings):
    """Settings of a gated hold: there are none."""

    def build(self, streams: int, width: int) -> GatedHold:
        """Make a gated hold."""
        return GatedHold(streams, width)


class GatedHold(Exchange):
    """Add to a token x the values v_j that the other streams last said, weighed by gates g_j in (0, 1).

    g_j = sigmoid(a x + k_j v_j + f log(1 + age_j)): one number a stream, so that it can be read as trust. Ages, and
    flags of streams that never spoke, are added besides.

    Args:
        streams: Number of streams S.
        width: Width D of the tokens.
    """

    def __init__(self, streams: int, width: int) -> None:
        super().__init__()
        self.streams = streams
        self.width = width
        self.said = width
        heard = streams - 1
        self.values = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(streams))
        self.asks = nn.ModuleList(nn.Linear(width, heard) for _ in range(streams))
        self.keys = nn.Parameter(torch.zeros(streams, heard, width))
        # An older token counts less from the start: at an age of 100 periods by a factor of about 3 in the odds.
        self.fade = nn.Parameter(torch.full((streams, heard), -0.25))
        self.contexts = nn.ModuleList(nn.Linear(2 * heard, width, bias=False) for _ in range(streams))

    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return the stream's value of a token."""
        return self.values[stream](normal)

    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return the gates, and 1 for the token's own stream."""
        gates = self.gates(stream, normal, heard) * heard.ages.found
        return torch.cat([gates, torch.ones_like(normal[..., :1])], -1)

    def gates(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return the gate of each other stream, shape (..., S-1); any number where there is nothing to let in."""
        logit = self.asks[stream](normal) + (heard.said * self.keys[stream]).sum(-1)
        return torch.addcmul(logit, heard.ages.log.to(logit.dtype), self.fade[stream].to(logit.dtype)).sigmoid()

    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Add what was heard, and how old it is."""
        gates = self.gates(stream, normal, heard)
        return token + (gates.unsqueeze(-1) * heard.said).sum(-2) + self.contexts[stream](heard.ages.row)
