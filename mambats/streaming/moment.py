"""The nouns inside a stream: a packet that is held, a moment made of some, and what is known after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mambats.streaming.counters import Fate
from mambats.streaming.engine import BoolArray, FloatArray, Int64Array, Outputs, Packet, State


class Answer(NamedTuple):
    """What the model said of one moment of one robot.

    A provisional answer is replaced by any later one of the same (row, seq). Settled answers come once each, and
    their numbers have no gap: a sink that keeps what it has under (row, seq) never holds one twice.
    """

    stamp_ns: int  #: of the moment answered for, by the robot's clock
    row: int  #: which robot
    seq: int  #: number of the answer among the robot's
    settled: bool  #: nothing that is still let in can change it
    outputs: Outputs  #: without rows
    streams: tuple[str, ...] = ()  #: that measured at this moment and were believed
    silent: tuple[str, ...] = ()  #: past their timeout


class Kept(NamedTuple):
    """A robot's state, as a row of a batch."""

    state: State
    at: int


class Sensed(NamedTuple):
    """What a sensor was last seen to do."""

    stamp: int
    period: float  #: nanoseconds between packets, smoothed over about ten; 0 before the second
    offset: float = 0.0  #: nanoseconds after the first stream of a shared moment, smoothed over about fifty
    values: FloatArray | None = None  #: (C,) last ones measured, where the gate looks at values
    same: Int64Array | None = None  #: (C,) for how many packets unchanged
    limit: Int64Array | None = None  #: (C,) for how many packets at a limit


class Mark(NamedTuple):
    """What is known of a robot after a moment: all that is needed to go on from there."""

    stamp: int | None = None  #: of the last moment taken
    begun: int | None = None  #: of the first
    number: int = 0  #: of the next answer
    tick: int | None = None  #: when to ask next
    sensors: Mapping[int, Sensed] = {}  #: by rank of stream
    state: Kept | None = None  #: None where it was not kept
    since: int = 0  #: moments since the last state that was kept

    @property
    def kept(self) -> Kept:
        """The state, of a moment to which the stream goes back."""
        if self.state is None:
            raise RuntimeError("a stream went back to a moment whose state was not kept: please report this.")
        return self.state


@dataclass(slots=True, eq=False)
class Record:
    """A packet whose form is right."""

    stamp: int  #: by the stream's clock, once it is let in
    rank: int  #: of its stream among the engine's
    row: int
    values: FloatArray  #: (C,), 0 where not observed
    observed: BoolArray  #: (C,) what was measured
    sequence: int | None = None
    missing: int = 0  #: values that are not finite
    lag: int = 0  #: nanoseconds by which its sensor's clock was taken to be behind: already taken off `stamp`
    fate: Fate = "waiting"
    cause: str = ""
    believed: BoolArray = field(init=False)  #: (C,) what the gate leaves of `observed`, once it was asked
    masked: dict[str, int] = field(init=False)  #: values that are not believed, by cause, alike

    @property
    def order(self) -> tuple[int, int]:
        """Its place in time."""
        return self.stamp, self.rank

    @property
    def told(self) -> int:
        """Its stamp as the sensor's clock told it."""
        return self.stamp + self.lag

    @property
    def trusted(self) -> FloatArray:
        """Its values, 0 where not believed."""
        return np.where(self.believed, self.values, np.float32(0)) if self.masked else self.values

    def packet(self, stream: str) -> Packet:
        """Return it as it came, as float32."""
        values = np.where(self.observed, self.values, np.float32(np.nan))
        return Packet(stream, self.stamp, values, self.row, self.sequence)

    def become(self, fate: Fate, cause: str = "") -> None:
        """Note what became of it."""
        self.fate, self.cause = fate, cause


@dataclass(slots=True, eq=False)
class Moment:
    """Packets of a robot taken in one step."""

    row: int  #: which robot
    before: Mark  #: what was known of it before
    anchor: int  #: stamp of the first packet
    stamp: int  #: of the moment: of the last packet, or of the tick
    reach: int  #: the newest stamp with which a packet could still change it
    records: list[Record]
    tick: int | None = None  #: when to ask next, after it
    asks: bool = False  #: at a tick
    parts: list[tuple[int, Outputs]] = field(default_factory=list[tuple[int, Outputs]])  #: stamp and answer
    streams: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    told: bool = False
    mark: Mark = field(init=False)  #: what is known after it, once it was taken

    def answers(self, shift: int, settled: bool) -> list[Answer]:
        """Return its answers; `shift` [ns] is what the stream's clock is ahead of the robot's."""
        return [
            Answer(stamp - shift, self.row, self.before.number + at, settled, outputs, self.streams, self.silent)
            for at, (stamp, outputs) in enumerate(self.parts)
        ]
