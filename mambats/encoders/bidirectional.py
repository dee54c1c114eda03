"""The bidirectional encoder: every layer reads time both ways, as far ahead as `lookahead` allows."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from mambats.encoders.causal import CausalState, check_batch, check_sizes
from mambats.encoders.compact import Clock, Packing, blank_removed, split_borders
from mambats.encoders.embed import Embedding, check_rows
from mambats.mixers import MambaSettings, MixerSettings
from mambats.protocols import Encoder, Mixer, State


class NotCausalError(ValueError):
    """A state or a step was asked of an encoder that reads ahead."""


class Borders(NamedTuple):
    """Where packed sequences end, for the two directions; None in both is a dense batch."""

    forward: Tensor | None = None
    backward: Tensor | None = None


class BidirectionalBlock(nn.Module):
    """Add to tokens what a mixer makes of them forwards plus what one makes of them backwards.

    Args:
        mixer: The mixer forwards.
        back: The mixer backwards; None ties the directions: the same weights run both ways.
        dropout: Share of the sum dropped in training.
        lookahead: Tokens after which a reverse scan restarts; None runs it over the whole sequence.
    """

    def __init__(
        self, mixer: Mixer, back: Mixer | None = None, dropout: float = 0.0, lookahead: int | None = None
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.back = back
        self.dropout = dropout
        self.lookahead = lookahead
        self.norm = nn.RMSNorm(mixer.width, eps=1e-5)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, gaps: Tensor | None, borders: Borders) -> Tensor:
        """Mix x (B, T, D), or packed (1, T, D) with borders."""
        return self.carry(x, gaps, borders, None)[0]

    def init_state(self, batch: int) -> State:
        """Return what is carried forwards, before any token."""
        return self.mixer.init_state(batch)

    def carry(self, x: Tensor, gaps: Tensor | None, borders: Borders, state: State) -> tuple[Tensor, State]:
        """Mix tokens that follow others: the scan forwards goes on, the one backwards starts at the end of x."""
        normal = self.norm(x)
        ahead, state = self.mixer(normal, gaps, cu_seqlens=borders.forward, state=state)
        if borders.backward is None:
            behind = self._in_blocks(normal, gaps)
        else:
            behind = self._reverse(normal, gaps, borders.backward)
        return x + self.drop(ahead + behind), state

    def _reverse(self, x: Tensor, gaps: Tensor | None, borders: Tensor | None = None) -> Tensor:
        """Run the backward mixer from the last token to the first."""
        mixer = self.mixer if self.back is None else self.back
        return mixer(x, gaps, cu_seqlens=borders, reverse=True)[0]

    def _in_blocks(self, x: Tensor, gaps: Tensor | None) -> Tensor:
        """Reverse a dense batch, restarting at block ends: blocks become rows of the batch, the rest follows."""
        length = self.lookahead
        if length is None or length >= x.shape[1]:
            return self._reverse(x, gaps)
        whole = x.shape[1] - x.shape[1] % length
        y = self._reverse(fold(x[:, :whole], length), None if gaps is None else fold(gaps[:, :whole], length))
        y = y.reshape(x.shape[0], whole, x.shape[2])
        if whole == x.shape[1]:
            return y
        return torch.cat([y, self._reverse(x[:, whole:], None if gaps is None else gaps[:, whole:])], 1)


def fold(rows: Tensor, length: int) -> Tensor:
    """Turn (B, n * length, ...) into (B * n, length, ...)."""
    return rows.reshape(-1, length, *rows.shape[2:])


class BidirectionalEncoder(Encoder):
    """Embed rows, pass them through blocks that read time both ways, normalise.

    With a lookahead of L, reverse scans restart at the ends of blocks [0, L), [L, 2 L), ... of present rows,
    the same in every layer, so an output waits for at most L rows at any depth and what follows a block's end
    never changes what stands before it. Rows that are absent (mask False) are not counted: they are not there.
    Online, `run_blocks` takes whole blocks of present rows with carried state, with the numbers of one forward.

    Args:
        channels: Channels C of a row.
        width: Width of the tokens.
        layers: Number of blocks.
        mixer: The mixer of each direction of each block; None is `MambaSettings()`.
        dropout: Share of each block's output dropped in training.
        tied: Run the same weights both ways, at half the parameters.
        lookahead: L in rows, at least 1; None reads the whole sequence.
        no_mixer: Leave the blocks out and keep the rest.

    Raises:
        ValueError: If a size or `lookahead` is below 1, or `dropout` outside [0, 1).
    """

    causal = False

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        *,
        mixer: MixerSettings | None = None,
        dropout: float = 0.0,
        tied: bool = False,
        lookahead: int | None = None,
        no_mixer: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(channels, width, layers, dropout)
        if lookahead is not None and lookahead < 1:
            raise ValueError(
                f"lookahead is {lookahead}: need at least 1 row, or None. Use CausalEncoder to read no row ahead."
            )
        self.channels = channels
        self.width = width
        self.layers = layers
        self.mixer = mixer
        self.dropout = dropout
        self.tied = tied
        self.lookahead = lookahead
        self.no_mixer = no_mixer
        self.embedding = Embedding(channels, width)
        self.blocks = nn.ModuleList(self._block() for _ in range(0 if no_mixer else layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def _block(self) -> BidirectionalBlock:
        """Make one layer."""
        settings = self.mixer or MambaSettings()
        back = None if self.tied else settings.build(self.width)
        return BidirectionalBlock(settings.build(self.width), back, self.dropout, self.lookahead)

    def forward(
        self,
        x: Tensor,
        gaps: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, None]:
        """Encode x (B, T, C); see `mambats.protocols.Encoder.forward`. The state is always None."""
        if state is not None:
            self._refuse("takes no state")
        check_rows(x, self.channels, gaps, observed, mask, axes="B, T")
        if gaps is not None or mask is not None:
            clock = Clock.start(x.shape[0], self.embedding.weight)
            gaps, _ = clock.run(x.new_ones(x.shape[:2]) if gaps is None else gaps, mask)
        token = self.embedding(blank_removed(x, mask), gaps, observed)
        return blank_removed(self.norm(self._mix(token, gaps, mask)), mask), None

    def _mix(self, token: Tensor, gaps: Tensor | None, mask: Tensor | None) -> Tensor:
        """Pass tokens (B, T, width) through the blocks, packed where rows are absent."""
        packing, borders = None, Borders()
        if mask is not None:
            packing = Packing.of(mask)
            ends = packing.cu_seqlens
            cut = ends if self.lookahead is None else split_borders(ends, self.lookahead, mask.shape[1])
            borders = Borders(ends, cut)
            token, gaps = packing.pack(token), None if gaps is None else packing.pack(gaps)
        for block in self.blocks:
            token = block(token, gaps, borders)
        return token if packing is None else packing.unpack(token)

    def init_blocks(self, batch: int) -> CausalState:
        """Return the state of `run_blocks` before any row.

        Raises:
            NotCausalError: If the look-ahead has no end.
        """
        if self.lookahead is None:
            self._refuse("has no blocks")
        layers = tuple(block.init_state(batch) for block in self.blocks)  # type: ignore[operator]
        return CausalState(Clock.start(batch, self.embedding.weight), layers)

    def run_blocks(
        self, x: Tensor, gaps: Tensor | None = None, *, observed: Tensor | None = None, state: CausalState
    ) -> tuple[Tensor, CausalState]:
        """Encode present rows x (B, T, C) behind those of the state; T is a multiple of L but for the last call.

        Args:
            x: Rows; absent ones are left out, and their time is added to the gap of the next.
            gaps: Since the row before, in reference periods, shape (B, T), or None where all are 1.
            observed: Which values were measured, shape of x, or None.
            state: From `init_blocks` or the call before.

        Returns:
            Tokens (B, T, width), those of `forward` over all rows, and the next state.

        Raises:
            NotCausalError: If the look-ahead has no end.
            ValueError: If shapes do not fit.
        """
        if self.lookahead is None:
            self._refuse("has no blocks")
        check_rows(x, self.channels, gaps, observed, None, axes="B, T")
        check_batch(x, state.clock)
        gaps, clock = state.clock.run(x.new_ones(x.shape[:2]) if gaps is None else gaps, None)
        token = self.embedding(x, gaps, observed)
        left = list[State]()
        for block, layer in zip(self.blocks, state.layers, strict=True):
            token, layer = block.carry(token, gaps, Borders(), layer)  # type: ignore[operator]
            left.append(layer)
        return self.norm(token), CausalState(clock, tuple(left))

    def init_state(self, batch: int) -> None:
        """Return None: an encoder that reads ahead carries nothing."""

    def step(
        self,
        x_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: State = None,
    ) -> NoReturn:
        """Refuse: a row's token needs rows that are not there yet.

        Raises:
            NotCausalError: Always.
        """
        self._refuse("cannot step")

    def _refuse(self, what: str) -> NoReturn:
        ahead = "the whole sequence" if self.lookahead is None else f"blocks of {self.lookahead} rows"
        raise NotCausalError(
            f"BidirectionalEncoder reads {ahead} both ways and {what}. "
            "Give it whole blocks of rows at once, or train a CausalEncoder to run row by row."
        )
