"""What an exchange between streams promises, and how a recipe names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from mambats.encoders.fusion.plan import Ages
from mambats.protocols import State


class Heard(NamedTuple):
    """What a token reads of the other streams.

    Attributes:
        said: What the last token of each said, shape (..., S-1, K); zeros where there is none.
        ages: How old it is, shape (..., S-1), and whether there is any.
    """

    said: Tensor
    ages: Ages


class Exchange(nn.Module, ABC):
    """Between layers, let tokens of one stream take over from the last tokens of all others.

    A token arrives twice: as it is, and normalised. S streams, width D, K numbers said.
    """

    #: Numbers that a token says to the other streams, K.
    said: int

    @abstractmethod
    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return what a token (..., D) of a stream says, shape (..., K)."""

    @abstractmethod
    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Return the token (..., D) after it heard the others."""

    @abstractmethod
    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return how much each other stream counts, then its own, in [0, 1], shape (..., S); 0 where none was heard."""

    def init_state(self, batch: int) -> State:
        """Return what one stream's exchange remembers before any token; most remember nothing."""
        return ()

    def run(
        self,
        stream: int,
        tokens: tuple[Tensor, Tensor],
        heard: Heard,
        gaps: Tensor,
        cu_seqlens: Tensor,
        state: State,
    ) -> tuple[Tensor, State]:
        """Let packed tokens (token, normal) (1, T, D) of a stream hear the others, in the order of time."""
        return self.hear(stream, *tokens, heard), state

    def step(
        self,
        stream: int,
        tokens: tuple[Tensor, Tensor],
        heard: Heard,
        gap_t: Tensor,
        mask_t: Tensor | None,
        state: State,
    ) -> tuple[Tensor, State]:
        """Let one token (token, normal) (B, D) hear the others; where mask_t (B,) is False the state stays."""
        return self.hear(stream, *tokens, heard), state


class ExchangeSettings(ABC):
    """What an exchange needs to know besides streams and width. Subclasses are frozen dataclasses of plain values."""

    @abstractmethod
    def build(self, streams: int, width: int) -> Exchange:
        """Make a new exchange between `streams` streams of tokens of `width`."""
