"""Concatenation: a token, what every other stream last said, ages and flags, through one matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard


@dataclass(frozen=True)
class ConcatenatedSettings(ExchangeSettings):
    """Settings of concatenation: there are none."""

    def build(self, streams: int, width: int) -> Concatenated:
        """Make an exchange by concatenation."""
        return Concatenated(streams, width)


class Concatenated(Exchange):
    """Add W [x, v_1, .., v_(S-1), ages, flags] to a token x: no gate, so that a bad sensor cannot be shut out.

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
        self.joins = nn.ModuleList(nn.Linear((heard + 1) * width + 2 * heard, width) for _ in range(streams))

    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return the token as it is."""
        return normal

    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Add what the matrix makes of everything."""
        row = [normal, heard.said.flatten(-2), heard.ages.row.to(normal.dtype)]
        return token + self.joins[stream](torch.cat(row, -1))

    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return each stream's share of the lengths of what the matrix adds for it."""
        join: Any = self.joins[stream]
        columns = join.weight[:, : self.streams * self.width].unflatten(1, (self.streams, self.width))
        rows = torch.cat([normal.unsqueeze(-2), heard.said], -2)
        added = torch.einsum("...sd,esd->...se", rows, columns).norm(dim=-1)
        return F.normalize(added, p=1, dim=-1).roll(-1, -1)  # the token's own stands first in the matrix
