"""What turns a stream of raw rows into a stream of tokens for the fusion encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from torch import Tensor, nn

from mambats.encoders.compact import blank_removed
from mambats.protocols import State
from mambats.series import SensorRows


class FeatureExtractor(nn.Module, ABC):
    """Turn the rows of one stream in a batch of windows into tokens with stamps of their own."""

    #: Channels of what comes out: what the fusion encoder's `streams` says of this stream.
    width: int
    #: Channels of a plain row that goes in; None where rows are tables or pictures.
    reads: int | None = None
    #: Whether each row becomes its own token, at its own stamp.
    row_by_row: bool = True

    @abstractmethod
    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Return rows with values (B, T', width), zeros where mask is False.

        Args:
            rows: Of the stream, as a window has them.
            length_ns: Of the window.
        """

    def carry_rows(self, rows: SensorRows, length_ns: int, state: State) -> tuple[SensorRows, State]:
        """Return the rows of `encode_rows` in a window after others, and what is carried on."""
        return self.encode_rows(rows, length_ns), state

    def pass_time(self, length_ns: int, state: State) -> State:
        """Return the state after a window in which the stream was not given."""
        return state

    def init_state(self, batch: int) -> State:
        """Return the state before any row: nothing, where each row becomes its own token."""
        return ()


def with_tokens(rows: SensorRows, tokens: Tensor) -> SensorRows:
    """Put one token (B, T, width) a row in the place of the values."""
    return replace(rows, values=blank_removed(tokens, rows.mask), observed=None, counts=None)
