"""One robot's time: what waits, what was taken, what is settled, and the way back.

What is taken hangs on the packets held and on the watermark alone, not on the order in which they came.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from itertools import islice
from operator import attrgetter

from mambats.streaming.moment import Mark, Moment, Record
from mambats.streaming.policy import Jump, Policy

ORDER = attrgetter("order")


class Timeline:
    """Hold the packets of one robot in order, cut them into moments, and say which can no longer change.

    Args:
        policy: What is waited for.
        sensors: Streams that measure: a moment with all of them is complete.
        row: Which robot.
        base: What is known of it at the start.
        lags: Nanoseconds by which the stamps of streams are behind, by rank, of those whose clock is followed.
    """

    def __init__(self, policy: Policy, sensors: int, row: int, base: Mark, lags: Mapping[int, int]) -> None:
        self.policy, self.sensors, self.row, self.base, self.lags = policy, sensors, row, base, dict(lags)
        self.pending: list[Record] = []
        self.done: list[Moment] = []
        self.newest: int | None = None  #: stamp of the newest packet, or of `advance`
        self.watermark: int | None = None  #: up to here packets are taken
        self.horizon: int | None = None  #: older packets are late
        self.crowded = False  #: the horizon was moved because the queue was full
        self.settled = base.number  #: answers with a lower number were given as settled
        self.shift, self.strange = 0, 0
        self.held = 0
        self.edge: list[Record] = []  # forgotten but for their stamps, which are not late yet
        self._stamps: set[tuple[int, int]] = set()
        self._sequences: set[tuple[int, int | None]] = set()

    @property
    def mark(self) -> Mark:
        """After the last moment taken."""
        return self.done[-1].mark if self.done else self.base

    def place(self, record: Record, told: int) -> None:
        """Put a packet into the stream's time, from the stamp that it came with."""
        record.lag = self.lags.get(record.rank, 0)
        record.stamp = told + self.shift - record.lag

    def jumped(self, stamp: int) -> Jump | None:
        """Say whether a packet's stamp is a jump of the clock."""
        rule, newest = self.policy.clock, self.newest
        if newest is None:
            return None
        if rule.back_ns is not None and stamp < newest - rule.back_ns:
            return "back"
        return "ahead" if rule.ahead_ns is not None and stamp > newest + rule.ahead_ns else None

    def knows(self, record: Record) -> bool:
        """Say whether a packet is held already, by its sensor's stamp or by its sender's number."""
        number = (record.rank, record.sequence)
        return (record.told, record.rank) in self._stamps or (number[1] is not None and number in self._sequences)

    def late(self, stamp: int) -> bool:
        """Say whether a packet can no longer be put in its place."""
        return self.horizon is not None and stamp < self.horizon

    def believes(self, jump: Jump) -> bool:
        """Count a jump; say whether enough packets in a row agree on it."""
        step = 1 if jump == "ahead" else -1
        self.strange = self.strange + step if self.strange * step > 0 else step
        rule = self.policy.clock
        return rule.of(jump) != "reject" and abs(self.strange) >= rule.patience

    def insert(self, record: Record) -> list[Moment]:
        """Hold a packet; return the moments that were undone because it belongs before or into them."""
        undone = self._undo(record.stamp)
        if self.pending and self.pending[-1].order > record.order:
            insort(self.pending, record, key=ORDER)
        else:
            self.pending.append(record)
        self.hold(record)
        self.advance(record.stamp)
        if len(self.pending) > self.policy.queue_size:
            self.raise_watermark(self.pending[0].stamp + self.policy.slop_ns + 1, crowded=True)
        return undone

    def advance(self, stamp: int) -> None:
        """Let time pass: move watermark and horizon up, never down."""
        if self.newest is None or stamp > self.newest:
            self.newest = stamp
            self.raise_watermark(stamp - self.policy.wait_ns)

    def raise_watermark(self, stamp: int, crowded: bool = False) -> None:
        """Let what lies at or before a stamp be taken."""
        if self.watermark is None or stamp > self.watermark:
            self.watermark = stamp
            self._raise_horizon(stamp - self.policy.lateness_ns, crowded)

    def close(self) -> None:
        """Let all that waits be taken and settled."""
        if self.newest is not None:
            self.raise_watermark(self.newest + self.policy.slop_ns + 1)
            self._raise_horizon(self.newest + self.policy.slop_ns + 1)

    def due(self) -> Moment | None:
        """Return the next moment if it is time for it."""
        if self.watermark is None:
            return None
        first = self.pending[0] if self.pending else None
        tick = self._tick(first)
        if first is None or (tick is not None and tick < first.stamp):
            if tick is None or tick >= self.watermark:
                return None
            return Moment(self.row, self.mark, tick, tick, tick, [], self._tick_after(tick), asks=True)
        if first.stamp > self.watermark:
            return None
        moment, whole = self._group(first, tick)
        if moment.asks:
            return moment if moment.stamp < self.watermark else None
        return moment if whole or self.watermark >= moment.anchor + self.policy.slop_ns else None

    def take(self, moment: Moment) -> None:
        """Note that the moment that was due is taken."""
        del self.pending[: len(moment.records)]
        self.held += not moment.records
        self.done.append(moment)

    def settle(self) -> list[Moment]:
        """Return the moments that nothing can change any more and that were not given as settled yet."""
        self._make_room()
        found, gone = list[Moment](), 0
        for at, moment in enumerate(self.done):
            if self.horizon is None or moment.reach >= self.horizon:
                break
            if moment.before.number >= self.settled and moment.parts:
                found.append(moment)
                self.settled = moment.mark.number
            moment.told = True
            gone = at + 1 if moment.mark.state is not None else gone
        if gone:
            self._forget(gone)
        return found

    def fresh(self) -> list[Moment]:
        """Return the moments that were taken since it was last asked and are not settled."""
        found = list[Moment]()
        for moment in reversed(self.done):
            if moment.told:
                break
            moment.told = True
            found.append(moment)
        return found[::-1]

    def _tick(self, first: Record | None) -> int | None:
        """Return when to ask next; ticks within a pause that is too long are left out."""
        period, mark = self.policy.tick_ns, self.mark
        if period is None or self.watermark is None or (mark.tick is None and first is None):
            return None
        end = self.watermark if first is None else first.stamp
        if mark.tick is None:
            return -(-end // period) * period
        pause = self.policy.clock.ahead_ns
        if pause is None or mark.stamp is None or end - mark.stamp <= pause:
            return mark.tick
        return max(mark.tick, -(-end // period) * period if first is not None else (end - 1) // period * period)

    def _tick_after(self, tick: int) -> int | None:
        return None if self.policy.tick_ns is None else tick + self.policy.tick_ns

    def _group(self, first: Record, tick: int | None) -> tuple[Moment, bool]:
        """Join the packets within the slop of the first; say whether no other could join them."""
        slop_ends = first.stamp + self.policy.slop_ns
        asks = tick is not None and tick <= slop_ends
        limit = tick if asks and tick is not None else slop_ends
        records, ranks, closed = [first], {first.rank}, False
        for record in islice(self.pending, 1, None):
            if record.stamp > limit:
                break
            if record.rank in ranks:
                closed, asks = True, False
                break
            records.append(record)
            ranks.add(record.rank)
        if asks:
            moment = Moment(self.row, self.mark, first.stamp, limit, limit, records, self._tick_after(limit), asks=True)
            return moment, False
        whole, stamp = len(records) == self.sensors, records[-1].stamp
        # Complete and of one stamp: whatever comes later stands behind it.
        reach = first.stamp - 1 if whole and stamp == first.stamp else limit
        return Moment(self.row, self.mark, first.stamp, stamp, reach, records, tick), whole or closed

    def _undo(self, stamp: int) -> list[Moment]:
        """Put the packets of moments that a new one changes back into the queue, and go back to a kept state."""
        at = len(self.done)
        while at and self.done[at - 1].reach >= stamp:
            at -= 1
        if at == len(self.done):
            return []
        while at and self.done[at - 1].mark.state is None:
            at -= 1
        undone = self.done[at:]
        del self.done[at:]
        self.pending[:0] = [record for moment in undone for record in moment.records]
        self.held -= sum(not moment.records for moment in undone)
        return undone

    def _raise_horizon(self, stamp: int, crowded: bool = False) -> None:
        if self.horizon is None or stamp > self.horizon:
            self.horizon, self.crowded = stamp, crowded

    def _make_room(self) -> None:
        """Settle the oldest moments early while more is held than the queue takes."""
        over = self.held - self.policy.queue_size
        for moment in self.done if over > 0 else ():
            self._raise_horizon(moment.reach + 1, crowded=True)
            over -= max(1, len(moment.records))
            if over <= 0 and moment.mark.state is not None:
                break

    def hold(self, record: Record) -> None:
        """Count a packet, and know it when it comes again."""
        self.held += 1
        self.know(record)

    def know(self, record: Record) -> None:
        """Know a packet when it comes again."""
        self._stamps.add((record.told, record.rank))
        if record.sequence is not None:
            self._sequences.add((record.rank, record.sequence))

    def _forget(self, count: int) -> None:
        """Drop the oldest moments; the state after the last of them becomes the base."""
        gone, self.done = self.done[:count], self.done[count:]
        self.base = gone[-1].mark
        for rank in self.lags:
            if (known := self.base.sensors.get(rank)) is not None and known.offset:
                self.lags[rank] = round(known.offset)
        self.held -= sum(max(1, len(moment.records)) for moment in gone)
        records = self.edge + [record for moment in gone for record in moment.records]
        self.edge = [record for record in records if not self.late(record.stamp)]
        for record in records:
            if self.late(record.stamp):
                self._stamps.discard((record.told, record.rank))
                if record.sequence is not None:
                    self._sequences.discard((record.rank, record.sequence))
