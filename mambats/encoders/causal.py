"""The causal encoder: trained in parallel over whole sequences, run one row at a time, with the same numbers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mambats.encoders.compact import Clock, Packing, blank_removed
from mambats.encoders.embed import Embedding, check_rows
from mambats.encoders.native import NativeStep
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
        final_norm: Normalise the tokens after the last block. Without it a token keeps its size, which says how far
            a window is from its usual course: slightly better in trials on ETTh1.

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
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(channels, width, layers, dropout)
        self.channels = channels
        self.width = width
        self.layers = layers
        self.mixer = mixer
        self.dropout = dropout
        self.no_mixer = no_mixer
        self.final_norm = final_norm
        settings = mixer or MambaSettings()
        self.embedding = Embedding(channels, width)
        self.blocks = nn.ModuleList(Block(settings.build(width), dropout) for _ in range(0 if no_mixer else layers))
        self.norm = nn.RMSNorm(width, eps=1e-5) if final_norm else nn.Identity()
        self._native = NativeStep()

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
        check_rows(x, self.channels, gaps, observed, mask, axes="B, T")
        regular = gaps is None and mask is None and state is None
        if state is None:
            state = CausalState(Clock.start(x.shape[0], self.embedding.weight), (None,) * len(self.blocks))
        clock, layers = state
        check_batch(x, clock)
        gaps, clock = clock.run(x.new_ones(x.shape[:2]) if gaps is None else gaps, mask)
        # A regular series from its start has gaps of 1 throughout: the scans are spared the multiplication.
        gaps = None if regular else gaps
        token = self.embedding(blank_removed(x, mask), gaps, observed)
        token, layers = self._mix(token, gaps, mask, layers)
        return blank_removed(self.norm(token), mask), CausalState(clock, layers)

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
        """Encode one row x_t (B, C); see `mambats.protocols.Encoder.step`.

        On a CPU, in float32 and without gradients it is one call of the native library, where that is there.
        """
        done = self._native.step(self, x_t, gap_t, observed_t, mask_t, state)
        if done is not None:
            return done
        check_rows(x_t, self.channels, gap_t, observed_t, mask_t, axes="B")
        check_batch(x_t, state.clock)
        gap_t, clock = state.clock.tick(gap_t, mask_t)
        token = self.embedding(blank_removed(x_t, mask_t), gap_t, observed_t)
        left: list[State] = []
        for block, layer in zip(self.blocks, state.layers, strict=True):
            token, layer = block.step(token, gap_t, mask_t=mask_t, state=layer)  # type: ignore[operator]
            left.append(layer)
        return blank_removed(self.norm(token), mask_t), CausalState(clock, tuple(left))


def check_batch(x: Tensor, clock: Clock) -> None:
    """Refuse a state of another batch size.

    Raises:
        ValueError: If the state has not one row a row of x.
    """
    if x.shape[0] != clock.pending.shape[0]:
        raise ValueError(
            f"x has batch {x.shape[0]}, the state {clock.pending.shape[0]}: need one state a series. "
            "Start from init_state(batch), or carry the state of the same series."
        )


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
