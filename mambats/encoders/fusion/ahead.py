"""Look-ahead in seconds: reverse scans restart at the ends of blocks of time, the same for all layers and streams."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Generic, NoReturn, TypeVar

import torch
from torch import Tensor

from mambats.encoders.bidirectional import Borders, NotCausalError
from mambats.encoders.fusion.clock import LAST
from mambats.protocols import Event, FusionEncoder, State
from mambats.series import SensorRows

S = TypeVar("S")


class AheadFusion(FusionEncoder, Generic[S]):
    """What fusion encoders with a look-ahead share: whole windows, or block after block with carried state.

    A subclass gives `lookahead` (seconds, or None for the whole window), `_start` and `_run`.
    """

    causal = False

    @abstractmethod
    def _start(self, batch: int) -> S:
        """Return what scans carry forwards, before any row."""

    @abstractmethod
    def _run(self, rows: Mapping[str, SensorRows], length_ns: int, state: S | None) -> tuple[dict[str, Tensor], S]:
        """Encode rows behind those of the state: scans forwards go on, those backwards restart at block ends."""

    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: State | None = None
    ) -> tuple[dict[str, Tensor], None]:
        """Encode a window; see `mambats.protocols.FusionEncoder.forward`. The state is always None."""
        if state is not None:
            self._refuse("takes no state")
        return self._run(rows, length_ns, None)[0], None

    def init_blocks(self, batch: int) -> S:
        """Return the state of `run_blocks` before any row.

        Raises:
            NotCausalError: If the look-ahead has no end.
        """
        if self.lookahead is None:
            self._refuse("has no blocks")
        return self._start(batch)

    def run_blocks(self, rows: Mapping[str, SensorRows], length_ns: int, state: S) -> tuple[dict[str, Tensor], S]:
        """Encode whole blocks; see `mambats.protocols.BlockFusion`.

        Raises:
            NotCausalError: If the look-ahead has no end.
        """
        if self.lookahead is None:
            self._refuse("has no blocks")
        return self._run(rows, length_ns, state)

    def init_state(self, batch: int) -> None:
        """Return None: an encoder that reads ahead has no state between any two rows."""

    def step(self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: State) -> NoReturn:
        """Refuse: a token needs rows that are not there yet.

        Raises:
            NotCausalError: Always.
        """
        self._refuse("cannot step")

    def _refuse(self, what: str) -> NoReturn:
        ahead = "the whole window" if self.lookahead is None else f"blocks of {self.lookahead} s"
        raise NotCausalError(
            f"{type(self).__name__} reads {ahead} both ways and {what}. "
            "Give it whole windows, or train a causal fusion encoder to run moment by moment."
        )


def check_lookahead(lookahead: float | None) -> None:
    """Refuse a look-ahead that is not a time.

    Raises:
        ValueError: If it is not above 0 and finite.
    """
    if lookahead is not None and not (1e-9 <= lookahead < math.inf):
        raise ValueError(
            f"lookahead is {lookahead}: need seconds above 0, or None for the whole window. "
            "Use a causal fusion encoder to read nothing ahead."
        )


def time_borders(stamps: Tensor, mask: Tensor, cu_seqlens: Tensor, length_ns: int, lookahead: float | None) -> Borders:
    """Cut packed rows at the ends of blocks of time (0, L], (L, 2 L], ... for the scans that run backwards.

    Args:
        stamps: Of the rows that were packed in the order of time, shape (B, N) int64, any order.
        mask: Which of them exist, shape (B, N).
        cu_seqlens: Borders of each series, shape (B+1,).
        length_ns: Of the window.
        lookahead: L in seconds; None cuts nothing.

    Returns:
        Borders for both directions.
    """
    if lookahead is None:
        return Borders(cu_seqlens, cu_seqlens)
    block_ns = round(lookahead * 1e9)
    blocks = max(-(-length_ns // block_ns), 1)
    ends = torch.arange(1, blocks, device=stamps.device).mul(block_ns).expand(len(stamps), -1).contiguous()
    kept = torch.where(mask, stamps, LAST).sort(1).values
    before = torch.searchsorted(kept, ends, right=True)
    starts = cu_seqlens[:-1, None] + torch.cat([before.new_zeros((len(stamps), 1)), before], 1)
    return Borders(cu_seqlens, torch.cat([starts.flatten(), cu_seqlens[-1:]]))
