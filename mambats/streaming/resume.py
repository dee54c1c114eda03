"""What a stream has to remember to go on in another process: each robot's base state and the packets held since.

What was taken after the base is taken again on loading: the same packets give the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mambats.streaming.counters import Counters
from mambats.streaming.engine import FloatArray, Int64Array
from mambats.streaming.errors import SnapshotForeignError
from mambats.streaming.moment import Kept, Mark, Record, Sensed
from mambats.streaming.snapshot import Snapshot
from mambats.streaming.timeline import Timeline

if TYPE_CHECKING:
    from mambats.streaming.runner import StreamRunner

_CLOCK = ("newest", "watermark", "horizon", "crowded", "settled", "shift", "strange")


def dump(runner: StreamRunner) -> Snapshot:
    """Return a runner's snapshot; arrays of state are shared, not copied."""
    bases = [
        line.base.state or Kept(runner.engine.init_state(runner.rows), row) for row, line in enumerate(runner.lines)
    ]
    arrays = {
        f"state.{name}": bases[0].state[name] if runner.rows == 1 else np.stack([b.state[name][b.at] for b in bases])
        for name in bases[0].state
    }
    held = [(row, record) for row, line in enumerate(runner.lines) for record in _records(line)]
    empty = [np.zeros(0, np.float32)]
    arrays["packets.values"] = np.concatenate([record.values for _, record in held] or empty)
    arrays["packets.observed"] = np.concatenate([record.observed for _, record in held] or [np.zeros(0, np.bool_)])
    facts = {
        "counters": runner.counters.dump(),
        "lines": [_plain_line(line) for line in runner.lines],
        "packets": [[row, record.stamp, record.rank, record.sequence] for row, record in held],
    }
    return Snapshot(runner.engine.identity, runner.policy.digest(), runner.rows, facts, arrays)


def check(snapshot: Snapshot, runner: StreamRunner) -> None:
    """Refuse a snapshot of another stream, naming what differs.

    Raises:
        SnapshotForeignError: If model, policy, number of robots or the shapes of the state differ.
    """
    for what, given, needed in (
        ("model", snapshot.identity, runner.engine.identity),
        ("policy", snapshot.policy, runner.policy.digest()),
        ("number of robots", snapshot.rows, runner.rows),
    ):
        if given != needed:
            raise SnapshotForeignError(
                f"the snapshot is of another {what}: {str(given)[:12]}, the stream has {str(needed)[:12]}. Take the "
                "model and settings it was made with, or start afresh in another folder."
            )
    fresh = runner.engine.init_state(runner.rows)
    for name, array in fresh.items():
        given = snapshot.arrays.get(f"state.{name}")
        if given is None or given.shape != array.shape or given.dtype != array.dtype:
            raise SnapshotForeignError(f"the snapshot's state {name!r} is missing or not {array.dtype}{array.shape}.")


def load(snapshot: Snapshot, lines: list[Timeline], channels: Sequence[int]) -> list[Timeline]:
    """Fill fresh timelines from a snapshot; all held packets wait.

    Args:
        snapshot: Of as many robots as there are lines.
        lines: To fill.
        channels: By rank of stream.

    Raises:
        SnapshotForeignError: If it was written by another version.
    """
    try:
        Counters.load(snapshot.facts["counters"])
        _fill(snapshot, lines, channels)
    except (LookupError, TypeError, ValueError) as error:
        raise SnapshotForeignError(f"the snapshot is of another version of mambats ({error}).") from error
    return lines


def _fill(snapshot: Snapshot, lines: Sequence[Timeline], channels: Sequence[int]) -> None:
    """Fill timelines as `load` says."""
    state = {name[6:]: array for name, array in snapshot.arrays.items() if name.startswith("state.")}
    for row, (line, plain) in enumerate(zip(lines, snapshot.facts["lines"], strict=True)):
        stamp, begun, number, tick, sensors = plain["base"]
        known = {int(rank): _sensed(one) for rank, one in sensors.items()}
        line.base = Mark(stamp, begun, number, tick, known, Kept(state, row))
        for name in _CLOCK:
            setattr(line, name, plain[name])
        nothing = np.zeros(0, np.float32)
        for stamp, rank, sequence in plain["edge"]:
            line.edge.append(Record(stamp, rank, nothing, nothing.astype(np.bool_), sequence))
            line.hold(line.edge[-1])
        line.held = 0
    at, values, observed = 0, snapshot.arrays["packets.values"], snapshot.arrays["packets.observed"]
    for row, stamp, rank, sequence in snapshot.facts["packets"]:
        part = slice(at, at + channels[rank])
        record = Record(stamp, rank, values[part], observed[part], sequence)
        lines[row].pending.append(record)
        lines[row].hold(record)
        at = part.stop


def _records(line: Timeline) -> list[Record]:
    return [record for moment in line.done for record in moment.records] + line.pending


def _plain_line(line: Timeline) -> dict[str, Any]:
    base = line.base
    sensors = {str(rank): _plain_sensed(sensed) for rank, sensed in base.sensors.items()}
    return {
        **{name: getattr(line, name) for name in _CLOCK},
        "base": [base.stamp, base.begun, base.number, base.tick, sensors],
        "edge": [[record.stamp, record.rank, record.sequence] for record in line.edge],
    }


def _plain_sensed(sensed: Sensed) -> list[Any]:
    return [*sensed[:3], *(None if part is None else part.tolist() for part in sensed[3:])]


def _sensed(plain: Sequence[Any]) -> Sensed:
    stamp, period, offset, values, same, limit = plain

    def whole(numbers: list[int] | None) -> Int64Array | None:
        return None if numbers is None else np.array(numbers, np.int64)

    floats: FloatArray | None = None if values is None else np.array(values, np.float32)
    return Sensed(stamp, period, offset, floats, whole(same), whole(limit))
