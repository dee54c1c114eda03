"""The nouns of models: what a mixer, an encoder, a head and a source promise to each other.

Parts meet here and nowhere else: a task family is handed an encoder that satisfies these contracts and
never imports one. Shapes: B batch, T time, C channels, D model width, K horizon. Sequences are
(B, T, D), channels last. `gaps` (B, T) is the time since the previous kept token in units of the
encoder's reference period: a regular series has gaps of 1, and the first gap of a fresh state is 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from mambats.series import Recording

# A NamedTuple tree of tensors, batch first. It can be cloned, moved, saved with safetensors, given to
# ONNX as inputs and outputs, and differentiated through at both ends.
State = Any


class Mixer(nn.Module, ABC):
    """One state-space layer that mixes along time, (B, T, D) -> (B, T, D), with a carried state."""

    width: int
    #: What the mixer does with time gaps. Ignoring them silently is a defect.
    gaps: ClassVar[Literal["exact", "feature", "refused"]] = "refused"
    #: Whether the dynamics do not depend on the input, so that the law of halved gaps applies.
    time_invariant: bool = False

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        gaps: Tensor | None = None,
        *,
        cu_seqlens: Tensor | None = None,
        state: State | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, State]:
        """Mix x (B, T, D) along time; with `cu_seqlens` (n+1,) x is packed (1, T, D) and states have n rows."""

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Return the state before any token, `batch` rows, on the device of the parameters."""

    @abstractmethod
    def step(
        self, x_t: Tensor, gap_t: Tensor | None = None, *, mask_t: Tensor | None = None, state: State
    ) -> tuple[Tensor, State]:
        """Take one token x_t (B, D); rows where mask_t (B,) is False keep their state and give zeros."""


class Encoder(nn.Module, ABC):
    """Turn observations (B, T, C) into tokens (B, T, width), in parallel or one row at a time.

    The law: `forward` over any chunking with carried state equals `forward` over the whole equals `step`
    row by row. A token with mask False is not there: its gap is added to the next kept token's gap and its
    output is zero. Non-causal encoders return state None, refuse one, and refuse `step`.
    """

    channels: int
    width: int
    causal: bool = True
    #: Rows of look-ahead of a bidirectional encoder; None means the whole sequence, 0 means causal.
    lookahead: int | None = 0
    #: Whether it reads regular rows only and takes what is missing through `observed`, not through a mask.
    grid: bool = False

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        gaps: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State | None]:
        """Encode x (B, T, C) with gaps (B, T), observed (B, T, C) bool and mask (B, T) bool."""

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Return the state before any row, on the device of the parameters."""

    @abstractmethod
    def step(
        self,
        x_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: State,
    ) -> tuple[Tensor, State]:
        """Encode one row x_t (B, C); returns (B, width) and the next state."""


class Head(nn.Module, ABC):
    """Turn a token (..., width) into an answer."""

    width: int

    @abstractmethod
    def forward(self, token: Tensor) -> Tensor:
        """Map the last axis of token to the answer's axes."""


@runtime_checkable
class Source(Protocol):
    """Where recordings come from: a file, a corpus, a simulator."""

    def recordings(self) -> list[Recording]:
        """Return the recordings, in a stable order."""
        ...
