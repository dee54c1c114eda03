"""The contract between a stream and the model behind it: numpy arrays in, numpy arrays out, one moment at a time.

Shapes: "rows" are robots (or series) side by side in one batch, C the channels of a stream. Nothing here loads a model:
engines of torch, ONNX Runtime and the native library stand in `mambats.streaming.engines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Int64Array: TypeAlias = npt.NDArray[np.int64]
#: What an engine carries, by flat name; every array has rows first. It goes into safetensors and ONNX as it is.
State: TypeAlias = dict[str, npt.NDArray[Any]]
#: What an engine answers, by name; every array has rows first.
Outputs: TypeAlias = dict[str, npt.NDArray[Any]]

#: A state that holds this, (rows,) int64, is told the moment: whoever steps sets it before, of the rows that step.
STAMP = "stamp_ns"
#: Output of an engine that looks ahead: how long before this moment each of its answers is. See `Engine`.
AGE = "age_ns"
#: Start of the names of outputs that say how surprising a stream was: `nis_gnss` (rows,).
NIS = "nis_"


class Packet(NamedTuple):
    """What a sensor said."""

    stream: str
    stamp_ns: int  #: when it was measured, by the robot's clock
    values: FloatArray  #: (C,); NaN where nothing was measured
    row: int = 0  #: which robot
    sequence: int | None = None  #: the sender's number, by which a packet that comes twice is known


class StepEvent(NamedTuple):
    """One row of one stream for each robot of a batch."""

    values: FloatArray  #: (rows, C), finite; 0 where not observed
    observed: BoolArray  #: (rows, C) which values were measured
    mask: BoolArray  #: (rows,) which robots measured at all


@runtime_checkable
class Engine(Protocol):
    """A model that takes one moment at a time.

    The law: a row whose mask is False in every event, with no time elapsed, keeps its state to the bit, whatever the
    others do; and what a row answers does not depend on the others beyond rounding. So robots in one batch are as good
    as alone, and one of them can be taken back in time without the others.

    Outputs with a meaning of their own, all optional:

    - `nis_<stream>`, shape (): residual' S^-1 residual of that stream before it was taken in, NaN where it did not
      measure. The runner compares it with the sensor's gate and, if it is over, takes the moment again without it.
    - `age_ns`, shape (L,) int64: the engine looks ahead. All outputs but `nis_` then have an axis L after rows, and
      `[:, i]` answers for the moment `age_ns[:, i]` ago; negative where there is no answer yet.
    """

    @property
    def streams(self) -> Mapping[str, int]:
        """Channels by stream; the order settles who is first among equal stamps. No channels: a stream that asks."""
        ...

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each answer, without rows."""
        ...

    @property
    def identity(self) -> str:
        """Sha256 of configuration and weights: a snapshot of another model is refused."""
        ...

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        ...

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment.

        Args:
            events: One row a stream, of the streams that measured.
            elapsed_ns: Since each row's step before, shape (rows,), >= 0; 0 for a row's first step.
            state: Of the step before; never changed in place.

        Returns:
            Answers in the data's units, each (rows, ...), meaningless where a row had no event; and the next state.
            Neither is written to later: the runner keeps both without a copy.
        """
        ...
