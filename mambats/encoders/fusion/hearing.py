"""Between layers: every token says something, and reads the last that every other stream said."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.fusion.exchange import Exchange, Heard
from mambats.encoders.fusion.plan import Ages, Plan, others
from mambats.protocols import State


class HearingState(NamedTuple):
    """What streams remember of one another.

    Attributes:
        said: The last that each stream said, shape (B, S, K); zeros before anything.
        memory: What the exchange remembers, of each stream.
    """

    said: Tensor
    memory: tuple[State, ...]


class Hearing(nn.Module):
    """Run an exchange over packed streams, or for one token.

    Args:
        exchange: Between the streams.
        streams: Number of streams S.
        width: Width D of the tokens.
    """

    _others: Tensor
    _own: Tensor

    def __init__(self, exchange: Exchange, streams: int, width: int) -> None:
        super().__init__()
        self.exchange = exchange
        self.streams = streams
        # On a CPU torch computes this norm in one go, and RMSNorm in eight: a step has one a layer.
        self.norm = nn.LayerNorm(width)
        self.register_buffer("_others", others(streams), persistent=False)
        self.register_buffer("_own", torch.eye(streams, dtype=torch.bool).unsqueeze(-1), persistent=False)

    def init_state(self, batch: int) -> HearingState:
        """Return the state before anything was said."""
        said = self.norm.weight.new_zeros((batch, self.streams, self.exchange.said))
        return HearingState(said, tuple(self.exchange.init_state(batch) for _ in range(self.streams)))

    def forward(self, tokens: Tensor, plan: Plan, state: HearingState) -> tuple[Tensor, HearingState]:
        """Let packed tokens (1, L, D) of all streams hear one another."""
        normal, said, heard = self._read(tokens, plan, state)
        pieces = zip(tokens.split(plan.sizes, 1), normal, heard, plan.gaps.split(plan.sizes, 1), strict=True)
        after: list[Tensor] = []
        memory: list[State] = []
        for stream, (token, plain, read, gaps) in enumerate(pieces):
            borders = plan.packings[stream].cu_seqlens
            token, left = self.exchange.run(stream, (token, plain), read, gaps, borders, state.memory[stream])
            after.append(token)
            memory.append(left)
        return torch.cat(after, 1), HearingState(said, tuple(memory))

    def weigh(self, tokens: Tensor, plan: Plan, state: HearingState) -> list[Tensor]:
        """Return how much each stream counts for each packed token of each stream, (1, B * T, S) in stream order."""
        normal, _, heard = self._read(tokens, plan, state)
        weights: list[Tensor] = []
        for stream, (plain, read) in enumerate(zip(normal, heard, strict=True)):
            order = [*self._others[stream].tolist(), stream]
            places = sorted(range(len(order)), key=order.__getitem__)
            weights.append(self.exchange.weigh(stream, plain, read)[..., places])
        return weights

    def _read(self, tokens: Tensor, plan: Plan, state: HearingState) -> tuple[tuple[Tensor, ...], Tensor, list[Heard]]:
        """Let all speak, then read: normalised tokens, the last that was said (B, S, K), and what each stream hears."""
        normal = self.norm(tokens).split(plan.sizes, 1)
        table: list[Tensor] = []
        for stream, plain in enumerate(normal):
            table += [state.said[:, stream], self.exchange.say(stream, plain)[0]]
        rows = torch.cat(table)
        said = rows.index_select(0, plan.last.flatten()).unflatten(0, plan.last.shape)
        read = rows.index_select(0, plan.heard.flatten()).unflatten(0, plan.heard.shape).unsqueeze(0)
        parts = zip(*(part.split(plan.sizes, 1) for part in (read, *plan.ages)), strict=True)
        return normal, said, [Heard(words, Ages(found, row)) for words, found, row in parts]

    def step(
        self, stream: int, token: Tensor, ages: Ages, gap_t: Tensor, mask_t: Tensor | None, state: HearingState
    ) -> tuple[Tensor, HearingState]:
        """Let one token (B, D) of a stream speak and hear; masked rows keep their state."""
        normal = self.norm(token)
        words = self.exchange.say(stream, normal).unsqueeze(1)
        heard = Heard(state.said.index_select(1, self._others[stream]), ages)
        own = self._own[stream] if mask_t is None else self._own[stream] & mask_t.view(-1, 1, 1)
        token, left = self.exchange.step(stream, (token, normal), heard, gap_t, mask_t, state.memory[stream])
        memory = (*state.memory[:stream], left, *state.memory[stream + 1 :])
        return token, HearingState(torch.where(own, words, state.said), memory)
