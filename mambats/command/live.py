"""The loop of `mambats run`: packet in, answers out, and what is told of it meanwhile."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mambats.command.pace import Pace, Stop
from mambats.command.sink import Sink
from mambats.formats.error import DataError
from mambats.streaming import Answer, Packet, PacketError, SnapshotRing, SnapshotWriteError, StreamRunner
from mambats.streaming.engines.frame import DETECTIONS, unpack_frame
from mambats.streaming.log import Latency
from mambats.streaming.sinks import is_tracks, plain_outputs, told
from mambats.streaming.sources.opener import Source


@dataclass
class Watch:
    """What is told of a run: lines on standard error, a log, a view.

    Args:
        every: Seconds between lines.
        log: A `RunLog`, or None.
        view: A `StreamView`, or None.
    """

    every: float
    log: Any = None
    view: Any = None
    latency: Latency = field(default_factory=Latency)
    answers: int = 0
    _told: float = field(default_factory=time.monotonic)
    _begun: float = field(default_factory=time.monotonic)
    _before: int = 0

    @classmethod
    def of(cls, given: argparse.Namespace, engine: Any, configuration: Mapping[str, Any]) -> Watch:
        """Make it from the command line."""
        log = view = None
        if given.log:
            from mambats.streaming.log import RunLog

            log = RunLog(given.log, configuration, resume=given.snapshot is not None)
        if given.view:
            from mambats.pictures.rerun import StreamView

            view = StreamView(given.view)
        return cls(given.every, log, view)

    def answer(self, answer: Answer, microseconds: float) -> None:
        """Take note of an answer."""
        self.answers += 1
        if self.log is not None:
            self.log.output(answer.stamp_ns, plain_outputs(answer.outputs), answer.row, microseconds)
        if self.view is not None:
            self._show(answer)

    def packet(self, packet: Packet, fate: str) -> None:
        """Show a packet and what became of it."""
        if self.view is None:
            return
        if packet.stream == DETECTIONS:
            frame = unpack_frame(packet.values, np.isfinite(packet.values))
            if frame is not None and fate == "used":
                self.view.boxes(packet.stamp_ns, frame.boxes, _named(DETECTIONS, packet.row))
        else:
            self.view.input(packet.stream, packet.stamp_ns, packet.values, fate, packet.row)

    def _show(self, answer: Answer) -> None:
        """Show an answer: tracks in space, and how many there are; anything else as curves."""
        if not is_tracks(answer.outputs):
            self.view.output(answer.stamp_ns, answer.outputs, answer.row)
            return
        tracks = told(answer.outputs)
        name = _named("tracks", answer.row)
        self.view.tracks(answer.stamp_ns, tracks["box"], tracks["identity"], tracks["covariance"], name=name)
        counts = {part: tracks[part] for part in ("count", "refused") if part in tracks}
        self.view.output(answer.stamp_ns, counts, answer.row)

    def tell(self, runner: StreamRunner, stamp_ns: int, last: bool = False) -> None:
        """Say how it goes, where enough time has passed or the run is over."""
        now = time.monotonic()
        if not last and now - self._told < self.every:
            return
        table = runner.counters.table()
        since = now - (self._begun if last else self._told)
        count = table["received"] - (0 if last else self._before)
        fates = ", ".join(f"{name} {table[name]}" for name in ("used", "duplicate", "late", "rejected", "waiting"))
        p50, p99 = (self.latency.quantile(q) for q in (0.5, 0.99))
        print(
            f"mambats run: {table['received']} packets ({count / max(since, 1e-9):.0f}/s), {self.answers} answers, "
            f"push p50 {p50:.0f} us, p99 {p99:.0f} us; {fates}",
            file=sys.stderr,
            flush=True,
        )
        self._told, self._before = now, table["received"]
        for part in (self.log, self.view):
            if part is not None:
                part.counters(stamp_ns, table)
        if self.view is not None:
            arrays = {name: part for name, part in runner.state().arrays.items() if part.dtype.kind == "f"}
            self.view.state(
                stamp_ns, {k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}
            )

    def close(self) -> None:
        """Close log and view."""
        for part in (self.log, self.view):
            if part is not None:
                part.close()


class Live:
    """One run, from the first packet to the last.

    Args:
        source: Where packets come from.
        runner: What takes them.
        sink: Where answers go.
        watch: What is told.
        ring: Snapshots, or None.
        stop: When to end early.
        given: `speed`, `bad_rows`, `snapshot_every` of the command line.
    """

    def __init__(
        self,
        source: Source,
        runner: StreamRunner,
        sink: Sink,
        watch: Watch,
        ring: SnapshotRing | None,
        stop: Stop,
        given: argparse.Namespace,
    ) -> None:
        self.source, self.runner, self.sink, self.watch, self.ring, self.stop = source, runner, sink, watch, ring, stop
        self.skips, self.pace, self.saves = _skips(source, given.bad_rows), Pace(given.speed), given.snapshot_every
        # A file is read again from its start, and what was taken before is passed over; a pipe and a network go on.
        goes_on = "-" in given.source or getattr(source, "live", False)
        self.passed = 0 if goes_on else runner.counters.offset
        self._saved, self._stamp = time.monotonic(), 0

    def run(self) -> None:
        """Take packets until the source ends or the process is asked to end, then save and tell."""
        ended = False
        try:
            for count, item in enumerate(self.stop.between(self.source.packets())):
                if count < self.passed:
                    continue
                self._take(item)
            ended = not self.stop.asked
            if ended:
                self._write(self.runner.flush(), 0.0)
        finally:
            # Whoever is asked to end keeps what waits: a later run goes on with it.
            self._save()
            self.watch.tell(self.runner, self._stamp, last=True)

    def _take(self, item: Packet | DataError) -> None:
        if isinstance(item, DataError):
            if not self.skips:
                raise item
            stream = next(iter(self.runner.names))
            self.runner.counters.receive(stream, "rejected", "form")
            print(f"mambats: {item} (row skipped)", file=sys.stderr)
            return
        lag = self.pace.lag(item.stamp_ns)
        if lag > 0:
            self.stop.sleep(lag)
        begun = time.perf_counter()
        fates = self._fates() if self.watch.view is not None else {}
        try:
            answers = self.runner.push(item.stream, item.stamp_ns, item.values, item.row, item.sequence)
        except PacketError as error:
            if not self.skips:
                raise
            print(f"mambats: {error} (packet skipped)", file=sys.stderr)
            return
        microseconds = (time.perf_counter() - begun) * 1e6
        self.watch.latency.add(microseconds)
        self._stamp = max(self._stamp, item.stamp_ns)
        if self.watch.view is not None:
            after = self._fates()
            self.watch.packet(item, next((name for name, n in after.items() if n > fates[name]), "used"))
        self._write(answers, microseconds)
        self.watch.tell(self.runner, self._stamp)
        if time.monotonic() - self._saved >= self.saves:
            self._save()

    def _write(self, answers: list[Answer], microseconds: float) -> None:
        for answer in answers:
            if not answer.outputs:
                continue  # a moment of a model that answers at ticks
            self.sink.write(answer)
            self.watch.answer(answer, microseconds)

    def _save(self) -> None:
        if self.ring is None:
            return
        self._saved = time.monotonic()
        try:
            self.ring.save(self.runner.state())
        except SnapshotWriteError as error:
            print(f"mambats: {error}", file=sys.stderr)  # the stream goes on, as it promises

    def _fates(self) -> dict[str, int]:
        return {name: self.runner.counters.total(name) for name in ("duplicate", "late", "rejected")}


def _named(what: str, row: int) -> str:
    return f"{what}_{row}" if row else what


def _skips(source: Source, asked: str | None) -> bool:
    """Say whether a row that cannot be used is passed over: a stranger's message should not end a live run."""
    return asked == "skip" or (asked is None and getattr(source, "live", False))
