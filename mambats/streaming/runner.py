"""Measurements in, answers out: the stream around a model, for one robot or many side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.counters import Counters
from mambats.streaming.door import Admitted, Door
from mambats.streaming.engine import AGE, NIS, Engine, Outputs, Packet, State
from mambats.streaming.errors import PacketError, WriterError
from mambats.streaming.moment import Answer, Kept, Mark, Moment, Record
from mambats.streaming.policy import Policy
from mambats.streaming.resume import check, dump, load
from mambats.streaming.snapshot import Snapshot
from mambats.streaming.step import GuardedStep, Stepped
from mambats.streaming.timeline import Jump, Timeline

_STRIDE = 8  # of many robots a state is kept every so many answers: copies of rows cost more than a short replay


class StreamRunner:
    """Carry a model over packets that come late, twice, out of order, broken or not at all.

    Every packet ends as one of used, duplicate, late, rejected, and `counters` add up. Robots share a batch, not a
    clock: each has its own time, watermark and way back. One thread writes; another gets a `WriterError`.

    Args:
        engine: The model.
        policy: What is waited for and believed.
        rows: Robots side by side.

    Example:
        runner = StreamRunner(engine, Policy(lateness_ns=50_000_000))
        for stream, stamp_ns, values in packets:
            for answer in runner.push(stream, stamp_ns, values):
                print(answer.stamp_ns, answer.settled, answer.outputs)
    """

    def __init__(self, engine: Engine, policy: Policy | None = None, rows: int = 1) -> None:
        if rows < 1:
            raise ValueError(f"rows is {rows}: need 1 robot or more.")
        self.engine, self.policy, self.rows = engine, policy or Policy(), rows
        self.names = tuple(engine.streams)
        self.counters = Counters()
        #: Late packets, for `drain_late`; the oldest fall out where nobody drains.
        self.late: deque[Packet] = deque(maxlen=self.policy.queue_size)
        self._door, self._step = Door(engine, rows), GuardedStep(engine, self.policy, rows)
        self._sensors = sum(size > 0 for size in engine.streams.values())
        self._timeouts = {
            self.names.index(name): gate.timeout_ns
            for name, gate in self.policy.gates.items()
            if gate.timeout_ns is not None
        }
        self._fresh = engine.init_state(rows)
        self._state = self._fresh
        self.lines = [self._line(row, 0) for row in range(rows)]
        self._writer = dict[str, int]()

    def push(
        self, stream: str, stamp_ns: int, value: npt.ArrayLike, row: int = 0, sequence: int | None = None
    ) -> list[Answer]:
        """Take a packet.

        Args:
            stream: Which sensor.
            stamp_ns: When it was measured, by the robot's clock.
            value: Shape (C,), in the data's units; what is not finite counts as not measured.
            row: Which robot.
            sequence: The sender's number; with the same one a packet is a duplicate, as it is with the same stamp.

        Returns:
            Answers of the moments that are now taken or settled, often none.

        Raises:
            PacketError: If its form is wrong. It is counted as rejected, and nothing else was changed.
            WriterError: From a second thread.
        """
        return self.push_many((Packet(stream, stamp_ns, value, row, sequence),))  # pyright: ignore[reportArgumentType]

    def push_many(self, packets: Iterable[Packet]) -> list[Answer]:
        """Take packets together: moments of different robots share steps of the engine."""
        self._claim()
        admitted = [self._look(packet) for packet in packets]
        answers = list[Answer]()
        for one in admitted:
            answers += self._admit(one)
        return answers + self._answers({one.packet.row for one in admitted})

    def advance(self, stamp_ns: int, row: int | None = None) -> list[Answer]:
        """Let time pass without a packet, of one robot or all: ticks are answered, moments settle."""
        self._claim()
        rows = range(self.rows) if row is None else (row,)
        for each in rows:
            self.lines[each].advance(stamp_ns + self.lines[each].shift)
        return self._answers(rows)

    def flush(self, row: int | None = None) -> list[Answer]:
        """Take and settle all that waits, of one robot or all; what comes for that time afterwards is late."""
        self._claim()
        rows = range(self.rows) if row is None else (row,)
        for each in rows:
            self.lines[each].close()
        return self._answers(rows)

    def reset(self, row: int | None = None) -> list[Answer]:
        """Flush, then start afresh, of one robot or all: as if nothing had come, but answers are numbered on."""
        answers = self.flush(row)
        for each in range(self.rows) if row is None else (row,):
            self.lines[each] = self._line(each, self.lines[each].mark.number)
            self._restore(each, Kept(self._fresh, each))
        return answers

    def drain_late(self) -> list[Packet]:
        """Return the late packets since the last call."""
        self._claim()
        found = list(self.late)
        self.late.clear()
        return found

    def periods(self, row: int = 0) -> dict[str, float]:
        """Return nanoseconds between a robot's packets by stream, smoothed over about ten; 0 before the second."""
        return {self.names[rank]: sensed.period for rank, sensed in self.lines[row].mark.sensors.items()}

    def offsets(self, row: int = 0) -> dict[str, float]:
        """Return by how many nanoseconds a stream's stamps are behind the first stream's in moments they share.

        Smoothed over about fifty such moments (`Policy.slop_ns` says which stamps share one); 0 without any. What two
        clocks differ by, if both sensors measure at the same time.
        """
        return {self.names[rank]: sensed.offset for rank, sensed in self.lines[row].mark.sensors.items()}

    def release(self) -> None:
        """Let another thread write from now on."""
        self._claim()
        self._writer.clear()

    def state(self) -> Snapshot:
        """Return all that is needed to go on from here, in this process or another, as if nothing had been between."""
        self._claim()
        return dump(self)

    def load_state(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; `counters.offset` then says how many packets it has seen.

        Raises:
            SnapshotForeignError: If it is of another model, policy, number of robots or version; nothing was changed.
        """
        self._claim()
        check(snapshot, self)
        self.lines = load(snapshot, [self._line(row, 0) for row in range(self.rows)], self._door.channels)
        self._state = self._fresh
        for row, line in enumerate(self.lines):
            self._restore(row, line.mark.state or Kept(self._fresh, row))
        self._answers(range(self.rows))  # what is held is taken again, and was told before
        self.counters = Counters.load(snapshot.facts["counters"])

    def _look(self, packet: Packet) -> Admitted:
        try:
            return self._door.admit(packet)
        except PacketError:
            self.counters.receive(packet.stream if packet.stream in self.names else "?", "rejected", "form")
            raise

    def _claim(self) -> None:
        me = threading.get_ident()
        if self._writer.setdefault("thread", me) != me:
            raise WriterError(
                f"thread {me} writes into a stream of thread {self._writer.get('thread')}: push from one thread, "
                "through a queue, or call release() there first."
            )

    def _line(self, row: int, number: int) -> Timeline:
        line = Timeline(self.policy, self._sensors)
        line.base, line.settled = Mark(number=number, state=Kept(self._fresh, row)), number
        return line

    def _admit(self, one: Admitted) -> list[Answer]:
        """Decide what becomes of a packet before its moment is taken."""
        packet, line, count = one.packet, self.lines[one.packet.row], self.counters.receive
        answers, stamp = list[Answer](), packet.stamp_ns + line.shift
        if jump := line.jumped(stamp):
            if not line.believes(jump):
                count(packet.stream, "rejected", f"clock {jump}")
                return answers
            answers = self._jump(packet.row, jump, stamp)
            line = self.lines[packet.row]
            stamp = packet.stamp_ns + line.shift
        line.strange = 0
        if line.late(stamp):
            count(packet.stream, "late", "queue" if line.crowded else "lateness")
            self.late.append(packet)
        elif line.knows(stamp, one.rank, packet.sequence):
            count(packet.stream, "duplicate")
        elif one.missing == len(one.values) and not self._step.gates[one.rank].gate.asks:
            count(packet.stream, "rejected", "not finite")
            line.advance(stamp)
        else:
            count(packet.stream, "waiting")
            if one.missing:
                self.counters.masked[packet.stream, "not finite"] += one.missing
            undone = line.insert(Record(stamp, one.rank, one.values, one.observed, packet.sequence))
            if undone:
                self._undo(packet.row, undone)
        return answers

    def _jump(self, row: int, jump: Jump, stamp: int) -> list[Answer]:
        """Do what the clock rule says about a jump that is believed."""
        rule, line = self.policy.clock, self.lines[row]
        if (rule.ahead if jump == "ahead" else rule.back) == "reset":
            return self.reset(row)
        answers = list[Answer]()
        if jump == "back":
            answers = self.flush(row)
            line.shift += (line.horizon or 0) - stamp
        return answers

    def _undo(self, row: int, undone: list[Moment]) -> None:
        """Take back what was counted of moments that will be taken again, and the state."""
        for moment in undone:
            for record in moment.records:
                self._count(record, -1)
                self.counters.move(self.names[record.rank], (record.fate, record.cause), ("waiting", ""))
        kept = self.lines[row].mark.state
        if kept is None:
            raise RuntimeError("a stream went back to a moment whose state was not kept: please report this.")
        self._restore(row, kept)

    def _count(self, record: Record, sign: int) -> None:
        if record.fate == "used":
            for cause, count in record.masked.items():
                self.counters.masked[self.names[record.rank], cause] += sign * count

    def _restore(self, row: int, kept: Kept) -> None:
        """Put a robot's kept state into the batch."""
        if self.rows == 1:
            self._state = kept.state
            return
        self._state = {name: array.copy() for name, array in self._state.items()}
        for name, array in self._state.items():
            array[row] = kept.state[name][kept.at]

    def _answers(self, rows: Iterable[int]) -> list[Answer]:
        """Take all moments that are due, and answer."""
        rows = sorted(rows)
        active: Iterable[int] = rows
        while moments := {row: moment for row in active if (moment := self.lines[row].due()) is not None}:
            self._round(moments)
            active = moments
        answers = list[Answer]()
        for row in rows:
            line = self.lines[row]
            for moment in line.settle():
                answers += moment.answers(row, line.shift, True)
            fresh = line.fresh()
            if self.policy.provisional:
                for moment in fresh:
                    answers += moment.answers(row, line.shift, False)
        return answers

    def _round(self, moments: Mapping[int, Moment]) -> None:
        """Take one moment of each robot given."""
        stepped = self._step.take(moments, {row: self.lines[row].mark for row in moments}, self._state)
        self._state = stepped.state
        for row, moment in moments.items():
            for record in moment.records:
                self.counters.move(self.names[record.rank], ("waiting", ""), (record.fate, record.cause))
                if record.masked:
                    self._count(record, 1)
            self._close(row, moment, stepped, shared=2 * len(moments) >= self.rows)

    def _close(self, row: int, moment: Moment, stepped: Stepped, shared: bool) -> None:
        """Note what a robot's moment gave, and what is known after it."""
        line = self.lines[row]
        before, made = line.mark, row in stepped.rows
        if made:
            moment.parts = _parts(stepped.outputs, row, moment.stamp)
            moment.streams = tuple(
                self.names[rank] for rank in sorted(each.rank for each in moment.records if each.fate == "used")
            )
        number, sensors = before.number + len(moment.parts), stepped.sensors[row]
        begun = moment.stamp if before.begun is None else before.begun
        if self._timeouts:
            moment.silent = self._silent(moment.stamp, begun, sensors)
        state = None
        if self.rows == 1 or number % _STRIDE == 0:
            state = Kept(stepped.state, row) if shared else _alone(stepped.state, row)
        stamp = moment.stamp if made else before.stamp
        line.take(moment, Mark(stamp, begun, number, moment.tick, sensors, state))

    def _silent(self, stamp: int, begun: int, sensors: Mapping[int, Any]) -> tuple[str, ...]:
        return tuple(
            self.names[rank]
            for rank, limit in self._timeouts.items()
            if stamp - (sensors[rank].stamp if rank in sensors else begun) > limit
        )


def _alone(state: State, row: int) -> Kept:
    """Copy a robot's state out of the batch, so that the batch need not be kept for it."""
    return Kept({name: array[row : row + 1].copy() for name, array in state.items()}, 0)


def _parts(outputs: Outputs, row: int, stamp: int) -> list[tuple[int, Outputs]]:
    """Return a robot's answers with the stamps they are for."""
    mine = {name: array[row] for name, array in outputs.items()}
    if AGE not in mine:
        return [(stamp, mine)]
    ages = mine.pop(AGE)
    return [
        (stamp - int(ages[at]), {name: array if name.startswith(NIS) else array[at] for name, array in mine.items()})
        for at in np.argsort(-ages, kind="stable")
        if ages[at] >= 0
    ]
