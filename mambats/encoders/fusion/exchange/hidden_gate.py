"""Hidden-state gating: what other streams said joins a token's own state under a gate of the token's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard


@dataclass(frozen=True)
class HiddenGateSettings(ExchangeSettings):
    """Settings of hidden-state gating: there are none."""

    def build(self, streams: int, width: int) -> HiddenGate:
        """Make a hidden-state gate."""
        return HiddenGate(streams, width)


class HiddenGate(Exchange):
    """Add W ((v + sum_j u_j) * silu(z)) to a token: its own state v and those of others u_j under one gate z.

    The gate looks at the token, ages and flags of the others; it is a vector, the same for all streams.

    Args:
        streams: Number of streams S.
        width: Width D of the tokens.

    Source: W. Dong et al., "Fusion-Mamba for Cross-modality Object Detection", 2024: the dual state space fusion, where
    each modality's hidden state is added to the other's under the gate of the one that takes it. Here streams have
    clocks of their own, so the other's state is the last one before.
    """

    def __init__(self, streams: int, width: int) -> None:
        super().__init__()
        self.streams = streams
        self.width = width
        self.said = width
        self.values = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(streams))
        self.asks = nn.ModuleList(nn.Linear(width + 2 * (streams - 1), width) for _ in range(streams))
        self.outputs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(streams))

    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return the stream's state, projected."""
        return self.values[stream](normal)

    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Add the gated sum of states."""
        gate = self.asks[stream](torch.cat([normal, heard.ages.row.to(normal.dtype)], -1))
        return token + self.outputs[stream]((self.say(stream, normal) + heard.said.sum(-2)) * F.silu(gate))

    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return each state's share of the sum of their lengths: there is one gate for all."""
        states = torch.cat([heard.said, self.say(stream, normal).unsqueeze(-2)], -2)
        return F.normalize(states.norm(dim=-1), p=1, dim=-1)
