"""The causal encoder: trained in parallel over whole sequences, run one row at a time, with the same numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.compact import Clock, Packing
from mambats.encoders.embed import Embedding, check_rows
from mambats.mixers import Block, MambaSettings, MixerSettings
from mambats.protocols import Encoder, State


class CausalState(NamedTuple):
    """What a causal encoder carries from one row or chunk to the next.

    Attributes:
        clock: Time since the last kept row of each series.
        layers: One mixer state a layer, batch first.
    """

    clock: Clock
    layers: tuple[State, ...]


class CausalEncoder(Encoder):
    """Embed rows, pass them through residual state-space blocks, normalise.

    Token t depends on rows up to t only. Absent rows (mask False) are taken out before the scans.

    Args:
        channels: Channels C of a row.
        width: Width of the tokens.
        layers: Number of blocks.
        mixer: The mixer of each block; None is `MambaSettings()`.
        dropout: Share of each block's output dropped in training.
        no_mixer: Leave the blocks out and keep the rest: what the state-space part must beat.

    Raises:
        ValueError: If a size is below 1 or `dropout` outside [0, 1).

    Example:
        encoder = CausalEncoder(channels=1, width=64, layers=2)
        y, state = encoder(torch.randn(8, 96, 1))
        y_t, state = encoder.step(torch.randn(8, 1), state=state)
    """

    causal = True
    lookahead = 0

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        *,
        mixer: MixerSettings | None = None,
        dropout: float = 0.0,
        no_mixer: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(channels, width, layers, dropout)
        self.channels = channels
        self.width = width
        self.layers = layers
        self.mixer = mixer
        self.dropout = dropout
        self.no_mixer = no_mixer
        settings = mixer or MambaSettings()
        self.embedding = Embedding(channels, width)
        self.blocks = nn.ModuleList(Block(settings.build(width), dropout) for _ in range(0 if no_mixer else layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(
        self,
        x: Tensor,
        gaps: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        state: CausalState | None = None,
    ) -> tuple[Tensor, CausalState]:
        """Encode x (B, T, C); see `mambats.protocols.Encoder.forward`."""
        check_rows(x, self.channels, gaps, observed, mask)
        regular = gaps is None and mask is None and state is None
        clock, layers = state or CausalState(Clock.start(x.shape[0], self.embedding.weight), (None,) * len(self.blocks))
        gaps, clock = clock.run(x.new_ones(x.shape[:2]) if gaps is None else gaps, mask)
        # A regular series from its start has gaps of 1 throughout: the scans are spared the multiplication.
        gaps = None if regular else gaps
        if mask is not None:  # absent values may be NaN, and NaN times a zero gradient is NaN
            x = x.where(mask.unsqueeze(-1), torch.zeros_like(x))
        token = self.embedding(x, gaps, observed)
        token, layers = self._mix(token, gaps, mask, layers)
        token = self.norm(token)
        if mask is not None:
            token = token.where(mask.unsqueeze(-1), torch.zeros_like(token))
        return token, CausalState(clock, layers)

    def _mix(
        self, token: Tensor, gaps: Tensor | None, mask: Tensor | None, layers: tuple[State, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Pass tokens (B, T, width) through the blocks, packed where rows are absent."""
        packing = None if mask is None else Packing.of(mask)
        cu_seqlens = None
        if packing is not None:
            token, cu_seqlens = packing.pack(token), packing.cu_seqlens
            gaps = None if gaps is None else packing.pack(gaps)
        left: list[State] = []
        for block, state in zip(self.blocks, layers, strict=True):
            token, state = block(token, gaps, cu_seqlens=cu_seqlens, state=state)
            left.append(state)
        return token if packing is None else packing.unpack(token), tuple(left)

    def init_state(self, batch: int) -> CausalState:
        """Return the state before any row, on the device of the parameters."""
        layers = tuple(block.init_state(batch) for block in self.blocks)  # type: ignore[operator]
        return CausalState(Clock.start(batch, self.embedding.weight), layers)

    def step(
        self,
        x_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: CausalState,
    ) -> tuple[Tensor, CausalState]:
        """Encode one row x_t (B, C); see `mambats.protocols.Encoder.step`."""
        check_rows(x_t, self.channels, gap_t, observed_t, mask_t)
        gap_t, clock = state.clock.tick(gap_t, mask_t)
        if mask_t is not None:
            x_t = x_t.where(mask_t.unsqueeze(-1), torch.zeros_like(x_t))
        token = self.embedding(x_t, gap_t, observed_t)
        left: list[State] = []
        for block, layer in zip(self.blocks, state.layers, strict=True):
            token, layer = block.step(token, gap_t, mask_t=mask_t, state=layer)  # type: ignore[operator]
            left.append(layer)
        token = self.norm(token)
        if mask_t is not None:
            token = token.where(mask_t.unsqueeze(-1), torch.zeros_like(token))
        return token, CausalState(clock, tuple(left))


def check_sizes(channels: int, width: int, layers: int, dropout: float) -> None:
    """Refuse sizes that make no encoder.

    Raises:
        ValueError: If a size is below 1 or `dropout` outside [0, 1).
    """
    if min(channels, width, layers) < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"channels is {channels}, width {width}, layers {layers}, dropout {dropout}: "
            "need sizes of at least 1 and a dropout in [0, 1)."
        )
