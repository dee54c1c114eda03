"""Measurements in, answers out: the stream around a model, for one robot or many side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

import numpy.typing as npt

from mambats.streaming.counters import Counters
from mambats.streaming.door import Door
from mambats.streaming.engine import Engine, Packet
from mambats.streaming.errors import PacketError, WriterError
from mambats.streaming.moment import Answer, Kept, Mark, Moment, Record
from mambats.streaming.policy import Jump, Policy
from mambats.streaming.snapshots.file import Snapshot
from mambats.streaming.snapshots.resume import check, dump, load
from mambats.streaming.step import GuardedStep
from mambats.streaming.timeline import Timeline


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
        #: For `drain_late`, by the robot's clock; of more than `queue_size` the oldest fall out, counted.
        self.late = deque[Record]()
        self._door, self._step = Door(engine, rows), GuardedStep(engine, self.policy, rows)
        self._fresh = engine.init_state(rows)
        self._state, self._back = self._fresh, dict[int, Kept]()  # of the batch; of robots that were taken back
        self.lines = [self.line(row) for row in range(rows)]
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
        records = [self._look(packet) for packet in packets]
        answers = [answer for record in records for answer in self._admit(record)]
        return answers + self._answers({record.row for record in records})

    def advance(self, stamp_ns: int, row: int | None = None) -> list[Answer]:
        """Let time pass without a packet, of one robot or all: ticks are answered, moments settle."""
        rows, stamp = self._rows(row), self._door.stamp(stamp_ns, "advance")
        for each in rows:
            self.lines[each].advance(stamp + self.lines[each].shift)
        return self._answers(rows)

    def flush(self, row: int | None = None) -> list[Answer]:
        """Take and settle all that waits, of one robot or all; what comes for that time afterwards is late."""
        rows = self._rows(row)
        for each in rows:
            self.lines[each].close()
        return self._answers(rows)

    def reset(self, row: int | None = None) -> list[Answer]:
        """Flush, then start afresh, of one robot or all: as if nothing had come, but answers are numbered on."""
        answers = self.flush(row)
        for each in self._rows(row):
            self.lines[each] = self.line(each, self.lines[each].mark.number)
            self._back[each] = Kept(self._fresh, each)
        return answers

    def drain_late(self) -> list[Packet]:
        """Return the late packets since the last call, each at least once also where the process was killed between."""
        self._claim()
        found = [record.packet(self.names[record.rank]) for record in self.late]
        self.late.clear()
        return found

    def periods(self, row: int = 0) -> dict[str, float]:
        """Return nanoseconds between a robot's packets by stream, smoothed over about ten; 0 before the second."""
        return {self.names[rank]: sensed.period for rank, sensed in self.lines[row].mark.sensors.items()}

    def offsets(self, row: int = 0) -> dict[str, float]:
        """Return by how many nanoseconds a stream's stamps are behind the first stream's, where both measure at once.

        Smoothed over about fifty moments that they share (`Policy.slop_ns`); 0 without any.
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
        self.lines, self.late, counters = load(snapshot, self)
        self._back = {line.row: line.mark.kept for line in self.lines}
        self._answers(range(self.rows))  # what is held is taken again, and was told before
        self.counters = counters

    def line(self, row: int, number: int = 0) -> Timeline:
        """Return the time of a robot of which nothing has come; its answers are numbered from `number`."""
        sensors = sum(size > 0 for size in self.engine.streams.values())
        lags = {self.names.index(name): offset for name, offset in self.policy.offsets_ns.items()}
        return Timeline(self.policy, sensors, row, Mark(number=number, state=Kept(self._fresh, row)), lags)

    def _claim(self) -> None:
        me = threading.get_ident()
        if self._writer.setdefault("thread", me) != me:
            raise WriterError(
                f"thread {me} writes into a stream of thread {self._writer.get('thread')}: push from one thread, "
                "through a queue, or call release() there first."
            )

    def _rows(self, row: int | None) -> Sequence[int]:
        """Return the robots that are meant, if this thread may write."""
        self._claim()
        return range(self.rows) if row is None else (self._door.row(row, "the stream"),)

    def _look(self, packet: Packet) -> Record:
        try:
            return self._door.admit(packet)
        except PacketError:
            self.counters.receive(packet.stream if packet.stream in self.names else "?", "rejected", "form")
            raise

    def _admit(self, record: Record) -> list[Answer]:
        """Decide what becomes of a packet before its moment is taken."""
        name, line, told, answers = self.names[record.rank], self.lines[record.row], record.stamp, list[Answer]()
        line.place(record, told)
        if jump := line.jumped(record.stamp):
            if not line.believes(jump):
                self.counters.receive(name, "rejected", f"clock {jump}")
                return answers
            answers = self._jump(record.row, jump, record.stamp)
            line = self.lines[record.row]
            line.place(record, told)
        line.strange = 0
        if line.late(record.stamp):
            self.counters.receive(name, "late", "queue" if line.crowded else "lateness")
            self._set_aside(record, told)
        elif line.knows(record):
            self.counters.receive(name, "duplicate")
        elif record.missing == len(record.values) and not self._step.gates[record.rank].gate.asks:
            self.counters.receive(name, "rejected", "not finite")
            line.advance(record.stamp)
        else:
            self.counters.receive(name, "waiting")
            self._undo(line, line.insert(record))
        return answers

    def _jump(self, row: int, jump: Jump, stamp: int) -> list[Answer]:
        """Do what the clock rule says about a jump that is believed."""
        if self.policy.clock.of(jump) == "reset":
            return self.reset(row)
        if jump == "ahead":
            return []  # the step clamps the time elapsed
        answers, line = self.flush(row), self.lines[row]
        line.shift += (line.horizon or 0) - stamp
        return answers

    def _set_aside(self, record: Record, told: int) -> None:
        """Keep a late packet for `drain_late`, under the stamp that was told."""
        record.stamp, record.lag = told, 0
        self.late.append(record)
        if len(self.late) > self.policy.queue_size:
            self.counters.undrained[self.names[self.late.popleft().rank]] += 1

    def _undo(self, line: Timeline, undone: Iterable[Moment]) -> None:
        """Let packets of moments that will be taken again wait, and go back to the state before."""
        for moment in undone:
            for record in moment.records:
                self.counters.decide(self.names[record.rank], record, -1)
            self._back[line.row] = line.mark.kept

    def _answers(self, rows: Iterable[int]) -> list[Answer]:
        """Take all moments that are due, and answer."""
        rows = sorted(rows)
        active = [self.lines[row] for row in rows]
        self._go_back()
        while moments := [moment for line in active if (moment := line.due()) is not None]:
            self._state = self._step.take(moments, self._state)
            active = [self.lines[moment.row] for moment in moments]
            for line, moment in zip(active, moments, strict=True):
                line.take(moment)
                for record in moment.records:
                    self.counters.decide(self.names[record.rank], record, 1)
        answers = list[Answer]()
        for line in (self.lines[row] for row in rows):
            answers += [answer for moment in line.settle() for answer in moment.answers(line.shift, True)]
            provisional = line.fresh() if self.policy.provisional else ()
            answers += [answer for moment in provisional for answer in moment.answers(line.shift, False)]
        return answers

    def _go_back(self) -> None:
        """Put the states of robots that were taken back into the batch."""
        if self.rows == 1 and self._back:
            self._state = self._back[0].state
        elif self._back:
            self._state = {name: array.copy() for name, array in self._state.items()}
            for row, kept in self._back.items():
                for name, array in self._state.items():
                    array[row] = kept.state[name][kept.at]
        self._back.clear()
