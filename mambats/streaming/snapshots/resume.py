"""What a stream has to remember to go on in another process: each robot's base state and the packets held since.

What was taken after the base is taken again on loading: the same packets give the same moments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.counters import Counters
from mambats.streaming.errors import SnapshotForeignError
from mambats.streaming.moment import Kept, Mark, Record, Sensed
from mambats.streaming.snapshots.file import Snapshot
from mambats.streaming.timeline import Timeline

if TYPE_CHECKING:
    from mambats.streaming.runner import StreamRunner

_CLOCK = ("newest", "watermark", "horizon", "crowded", "settled", "shift", "strange")
_STATE = "state."


def dump(runner: StreamRunner) -> Snapshot:
    """Return a runner's snapshot; arrays of state are shared, not copied."""
    lines = runner.lines
    bases = [line.base.kept for line in lines]
    arrays = {
        _STATE + name: bases[0].state[name] if len(lines) == 1 else np.stack([b.state[name][b.at] for b in bases])
        for name in bases[0].state
    }
    facts: dict[str, Any] = {"counters": runner.counters.dump(), "lines": [_plain_line(line) for line in lines]}
    held = [record for line in lines for moment in line.done for record in moment.records]
    held += [record for line in lines for record in line.pending]
    for name, records in (
        ("held", held),
        ("edge", [record for line in lines for record in line.edge]),
        ("late", list(runner.late)),
    ):
        facts[name] = [[r.row, r.stamp, r.rank, r.sequence, r.lag] for r in records]
        arrays[f"{name}.values"] = np.concatenate([np.zeros(0, np.float32), *(record.values for record in records)])
        arrays[f"{name}.observed"] = np.concatenate([np.zeros(0, np.bool_), *(record.observed for record in records)])
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
    for name, array in runner.engine.init_state(runner.rows).items():
        given = snapshot.arrays.get(_STATE + name)
        if given is None or given.shape != array.shape or given.dtype != array.dtype:
            raise SnapshotForeignError(f"the snapshot's state {name!r} is missing or not {array.dtype}{array.shape}.")


def load(snapshot: Snapshot, runner: StreamRunner) -> tuple[list[Timeline], deque[Record], Counters]:
    """Return each robot's time, of which all held packets wait, the late packets and the counters.

    Args:
        snapshot: That `check` let in.
        runner: Is not changed.

    Raises:
        SnapshotForeignError: If it was written by another version.
    """
    channels = tuple(runner.engine.streams.values())
    try:
        lines = [_line(runner, snapshot, row) for row in range(runner.rows)]
        for record in _records(snapshot, "edge", channels):
            lines[record.row].edge.append(record)
            lines[record.row].know(record)
        for record in _records(snapshot, "held", channels):
            lines[record.row].pending.append(record)
            lines[record.row].hold(record)
        return lines, deque(_records(snapshot, "late", channels)), Counters.load(snapshot.facts["counters"])
    except (LookupError, TypeError, ValueError) as error:
        raise SnapshotForeignError(f"the snapshot is of another version of mambats ({error}).") from error


def _line(runner: StreamRunner, snapshot: Snapshot, row: int) -> Timeline:
    plain = snapshot.facts["lines"][row]
    stamp, begun, number, tick, sensors = plain["base"]
    state = {name.removeprefix(_STATE): array for name, array in snapshot.arrays.items() if name.startswith(_STATE)}
    line = runner.line(row)
    line.lags = dict(plain["lags"])
    line.base = Mark(stamp, begun, number, tick, {int(rank): _sensed(*one) for rank, one in sensors}, Kept(state, row))
    for name in _CLOCK:
        setattr(line, name, plain[name])
    return line


def _records(snapshot: Snapshot, name: str, channels: Sequence[int]) -> Iterable[Record]:
    """Yield packets as they were dumped, in their order."""
    at, values, observed = 0, snapshot.arrays[f"{name}.values"], snapshot.arrays[f"{name}.observed"]
    for row, stamp, rank, sequence, lag in snapshot.facts[name]:
        part = slice(at, at + channels[rank])
        seen = observed[part]
        yield Record(stamp, rank, row, values[part], seen, sequence, missing=int((~seen).sum()), lag=lag)
        at = part.stop


def _plain_line(line: Timeline) -> dict[str, Any]:
    base = line.base
    sensors = [[rank, [_plain(part) for part in sensed]] for rank, sensed in base.sensors.items()]
    return {
        **{name: getattr(line, name) for name in _CLOCK},
        "base": [base.stamp, base.begun, base.number, base.tick, sensors],
        "lags": list(line.lags.items()),
    }


def _plain(part: float | npt.NDArray[Any] | None) -> Any:
    return part.tolist() if isinstance(part, np.ndarray) else part


def _sensed(stamp: int, period: float, offset: float, values: Any, same: Any, limit: Any) -> Sensed:
    if values is None:
        return Sensed(stamp, period, offset)
    return Sensed(
        stamp, period, offset, np.array(values, np.float32), np.array(same, np.int64), np.array(limit, np.int64)
    )
