"""`mambats run`: a bundle or a checkpoint on a stream of measurements, until it ends or the process is asked to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from mambats import __version__
from mambats.command.door import UsageError
from mambats.command.live import Live, Watch
from mambats.command.pace import Stop
from mambats.command.sink import Sink
from mambats.streaming import ClockRule, Gate, Policy, SnapshotRing, StreamRunner
from mambats.streaming.sources import SCHEMES, SourceOptions, open_source
from mambats.streaming.sources.several import joined

SECOND = 10**9
#: A navigator is asked at every tick: a stamp further ahead than this is taken for a wrong clock, not for a long pause.
AHEAD = 60 * SECOND


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"run: {message}. See mambats run --help.")


def run(words: list[str], command: str) -> int:
    """Run the command."""
    given = _parse(words)
    engine = _engine(given)
    names = tuple(_pair(word) for word in given.stream)
    options = SourceOptions(given.rows, given.time, given.format, names)
    source = joined([open_source(address, engine, options) for address in given.source], given.source)
    runner = StreamRunner(engine, _policy(given, engine), source.rows)
    ring = SnapshotRing(given.snapshot) if given.snapshot else None
    try:
        resumed = ring is not None and ring.restore(runner) is not None
        for refused in ring.refused if ring else ():
            print(f"mambats: {refused}", file=sys.stderr)
        sink = Sink(given.sink, source, getattr(engine, "facts", None), given.format, resume=resumed)
        watch = Watch.of(given, engine, _configuration(given, engine))
        try:
            with Stop() as stop:
                Live(source, runner, sink, watch, ring, stop, given).run()
        finally:
            watch.close()
            sink.close()
    finally:
        if ring is not None:
            ring.close()
    return 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _Arguments(prog="mambats run", description="Run a model on a stream, one measurement at a time.")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", help="folder that `mambats export` wrote; needs no torch")
    model.add_argument("--checkpoint", help="checkpoint that `mambats fit` wrote")
    model.add_argument("--tracker", type=Path, metavar="RECIPE", help="recipe of `mambats track`: frames of detections")
    parser.add_argument(
        "--source", required=True, action="append",
        help=f"table (CSV, JSON lines), - for standard input, or {'|'.join(SCHEMES)}:PLACE; several live ones, or "
        "several recordings, feed one model",
    )  # fmt: skip
    parser.add_argument("--sink", default="-", help="file of answers, or - for standard output (default)")
    parser.add_argument("--engine", choices=("onnx", "native", "torch"), help="default: onnx where it is there")
    parser.add_argument(
        "--speed", type=_positive, help="replay at so many times real time; default: as fast as it goes"
    )
    parser.add_argument("--snapshot", type=Path, help="folder of snapshots; a run that was stopped goes on from there")
    parser.add_argument("--snapshot_every", type=_positive, default=10.0, help="seconds between snapshots (default 10)")
    parser.add_argument("--log", type=Path, help="folder for the run's log, which `mambats report` shows")
    parser.add_argument("--view", help="FILE.rrd, live or live:URL: show the run in Rerun")
    parser.add_argument("--every", type=_positive, default=1.0, help="seconds between lines of rates (default 1)")
    for name, text in (
        ("wait", "seconds a moment waits for packets out of order"),
        ("lateness", "seconds behind that in which a packet is still put in its place"),
        ("slop", "seconds within which stamps of several streams are one moment"),
    ):
        parser.add_argument(f"--{name}", type=_seconds, default=0, help=f"{text} (default 0)")
    parser.add_argument("--queue_size", type=int, default=1000, help="packets held at most, a robot (default 1000)")
    parser.add_argument("--rows", type=int, help="series or robots side by side; default: those of the file, or 1")
    parser.add_argument("--time", help="time column of a table; default: found by name, then by content")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="format of both tables; default: by the ending")
    parser.add_argument(
        "--stream", action="append", default=[], metavar="NAME=TOPIC", help="which topic is which stream"
    )
    parser.add_argument("--start", type=_numbers, help="where a navigator starts: px,py,pz,qx,qy,qz,qw,vx,vy,vz")
    parser.add_argument(
        "--tick",
        type=_tick,
        help="seconds between questions to a model of streams (default: its reference period), or to a tracker (none)",
    )
    parser.add_argument("--noise", type=Path, metavar="CHECKPOINT", help="with --tracker: learned noise, as of track")
    for name, size, text in (("most", 32, "detections in a frame"), ("room", 64, "tracks at once")):
        parser.add_argument(f"--{name}", type=int, default=size, help=f"with --tracker: {text} (default {size})")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where a forecaster's checkpoint runs (default cpu)"
    )
    parser.add_argument(
        "--bad_rows",
        choices=("stop", "skip"),
        help="what to do with a row that cannot be used (default: stop at a file's, skip a network's)",
    )
    return parser.parse_args(words)


def _engine(given: argparse.Namespace) -> Any:
    if given.tracker:
        import torch

        from mambats.streaming.engines.tracker import tracker_engine

        torch.set_num_threads(1)  # dozens of tracks: threads that wait for each other cost more than they bring
        return tracker_engine(given.tracker, given.noise, given.most, given.room, given.tick)
    if given.bundle:
        from mambats.bundle import read_bundle

        return read_bundle(given.bundle).engine(given.engine, given.start)
    if given.engine not in (None, "torch"):
        raise UsageError(
            f"run: --engine {given.engine} runs bundles. First: mambats export --checkpoint "
            f"{given.checkpoint} --output BUNDLE"
        )
    from mambats.bundle.rebuild import any_engine

    engine = any_engine(given.checkpoint, given.start, given.tick, given.device)
    if lag := getattr(engine, "lag_ns", 0):
        print(f"mambats run: the model looks ahead: an answer waits for up to {lag / SECOND:g} s", file=sys.stderr)
    return engine


def _policy(given: argparse.Namespace, engine: Any) -> Policy:
    tick = getattr(engine, "tick_ns", None)
    # A row of a table where nothing was measured asks for a forecast all the same.
    gates = {name: Gate(asks=True, saturated=0) for name in engine.streams} if hasattr(engine, "facts") else {}
    return Policy(
        slop_ns=given.slop, wait_ns=given.wait, lateness_ns=given.lateness, queue_size=given.queue_size,
        provisional=False, gates=gates, tick_ns=tick, clock=ClockRule(ahead_ns=AHEAD) if tick else ClockRule(),
    )  # fmt: skip


def _configuration(given: argparse.Namespace, engine: Any) -> dict[str, Any]:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
    lag = getattr(engine, "lag_ns", 0) / SECOND
    kind = {"class": engine.kind} if getattr(engine, "kind", None) else {}
    return {"command": "run", **plain, **kind, "identity": engine.identity, "lag_s": lag, "mambats": __version__}


def _pair(word: str) -> tuple[str, str]:
    name, equals, topic = word.partition("=")
    if not (name and equals and topic):
        raise UsageError(f"run: --stream is {word!r}: need NAME=TOPIC, as imu=/imu/data.")
    return name, topic


def _numbers(word: str) -> list[float]:
    return [float(part) for part in word.split(",")]


def _positive(word: str) -> float:
    value = float(word)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{word} is not above 0")
    return value


def _tick(word: str) -> int:
    return round(_positive(word) * SECOND)


def _seconds(word: str) -> int:
    value = float(word)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{word} is not 0 or more")
    return round(value * SECOND)
