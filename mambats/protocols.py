"""The nouns of models: what a mixer, an encoder, a head and a source promise to each other.

Parts meet here and nowhere else: a task family is handed an encoder that satisfies these contracts and
never imports one. Shapes: B batch, T time, C channels, D model width, K horizon. Sequences are
(B, T, D), channels last. `gaps` (B, T) is the time since the previous kept token in units of the
encoder's reference period: a regular series has gaps of 1, and the first gap of a fresh state is 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from mambats.gaussian import Gaussian

if TYPE_CHECKING:
    from mambats.series import Recording, SensorRows

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


class Event(NamedTuple):
    """One row of one stream for each series of a batch.

    Args:
        values: Shape (B, C).
        observed: Which values were measured, shape (B, C) bool, or None where all were.
        mask: Which series measured at all at this moment, shape (B,) bool, or None where all did.
    """

    values: Tensor
    observed: Tensor | None = None
    mask: Tensor | None = None


class FusionEncoder(nn.Module, ABC):
    """Turn streams with clocks of their own into tokens that know of one another, in parallel or event by event.

    Every row of every stream becomes a token of its stream. Rows are taken in the order (stamp, order of `streams`);
    a token knows rows up to itself in that order, and nothing later. Any subset of the streams may be given, in
    training and at run time, and rows with mask False are not there: both are the same as never having measured.
    A stream of no channels (C = 0) asks: its tokens say what is known at that moment.

    The law: one call over a window equals calls over windows that follow one another with carried state, equals
    `step` moment by moment. Encoders that are not causal return state None, refuse one, and refuse `step`.
    """

    #: Channels of each stream by name; the order of names settles who comes first among equal stamps.
    streams: Mapping[str, int]
    width: int
    #: Nanoseconds that count as a gap of 1.
    period_ns: int
    causal: bool = True
    #: Seconds of look-ahead; None means the whole window, 0 means causal.
    lookahead: float | None = 0.0

    @abstractmethod
    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: State | None = None
    ) -> tuple[dict[str, Tensor], State | None]:
        """Encode the rows of a window that ends `length_ns` after its start, where the state's window ended.

        Args:
            rows: By stream; values (B, T, C), stamps (B, T) int64 nanoseconds since the start of the window.
            length_ns: Of the window; no stamp lies beyond.
            state: Of the windows before, or None.

        Returns:
            Tokens (B, T, width) of each stream given, zeros where mask is False, and the state at the window's end.
        """

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Return the state before any row, on the device of the parameters."""

    @abstractmethod
    def step(self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: State) -> tuple[dict[str, Tensor], State]:
        """Take what was measured at one moment.

        Args:
            events: One row a stream, of the streams that measured.
            elapsed_ns: Since the step before, or the end of the window before, shape (B,) int64.
            state: Of the step before.

        Returns:
            Tokens (B, width) of each stream given, zeros where its mask is False, and the next state.
        """


@runtime_checkable
class BlockFusion(Protocol):
    """A fusion encoder with a look-ahead L that runs online, block of time after block of time, at a lag of L.

    The law: calls over whole blocks that follow one another with carried state equal `forward` over all of them.
    """

    def init_blocks(self, batch: int) -> State:
        """Return the state before any row; raises a ValueError where the look-ahead has no end."""
        ...

    def run_blocks(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: State
    ) -> tuple[dict[str, Tensor], State]:
        """Encode a window behind the state's.

        Args:
            rows: As in `FusionEncoder.forward`; stamps count from the end of the window before.
            length_ns: Of the window: a multiple of L, of the last one at most.
            state: Of the windows before.

        Returns:
            Tokens of each stream given, and the state at the window's end.
        """
        ...


class Innovation(NamedTuple):
    """What a measurement told a filter.

    Args:
        residual: Measured less predicted, shape (B, m).
        covariance: Of the residual, S, shape (B, m, m).
        nis: residual' S^-1 residual, shape (B,): chi-square with m degrees of freedom where the filter is consistent.
        log_likelihood: Of the residual under N(0, S), shape (B,), nats.
        used: Whether the state was updated: measured, and not gated out; shape (B,) bool.
    """

    residual: Tensor
    covariance: Tensor
    nis: Tensor
    log_likelihood: Tensor
    used: Tensor


class Estimator(nn.Module, ABC):
    """A recursive filter over a batch of independent systems, differentiable, with any time step.

    The state is a NamedTuple of tensors, batch first, never changed in place, so that an earlier one can be kept and
    gone back to.
    """

    #: Numbers of the state's error, n: what `estimate` has a covariance of.
    size: int
    #: Numbers that each stream measures, m, by name.
    streams: Mapping[str, int]

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Return the state before any measurement, on the device and in the dtype of the parameters."""

    @abstractmethod
    def predict(self, state: State, elapsed: Tensor) -> State:
        """Let `elapsed` seconds (B,) >= 0 pass; 0 changes nothing."""

    @abstractmethod
    def update(
        self,
        state: State,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[State, Innovation]:
        """Take a measurement made now.

        Args:
            state: Predicted to the moment of the measurement.
            stream: Which sensor.
            value: Shape (B, m).
            noise: Covariance of its error, shape (B, m, m); None takes the model's.
            mask: Rows that measured, shape (B,) bool; others keep their state to the bit.
        """

    @abstractmethod
    def estimate(self, state: State) -> Gaussian:
        """Return mean and covariance (B, n); of a state on a manifold, the mean of its error, zero, stands apart."""


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
