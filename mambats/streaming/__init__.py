"""A trained model on a robot: measurements go in as they come, answers come out. Loads numpy and nothing heavier."""

from mambats.streaming.counters import Counters
from mambats.streaming.engine import AGE, NIS, Engine, Outputs, Packet, State, StepEvent
from mambats.streaming.errors import (
    PacketError,
    SnapshotBusyError,
    SnapshotDamagedError,
    SnapshotError,
    SnapshotForeignError,
    SnapshotWriteError,
    WriterError,
)
from mambats.streaming.moment import Answer
from mambats.streaming.policy import ClockRule, Gate, Policy
from mambats.streaming.runner import StreamRunner
from mambats.streaming.snapshots.file import Snapshot
from mambats.streaming.snapshots.ring import SnapshotRing

__all__ = [
    "AGE",
    "NIS",
    "Answer",
    "ClockRule",
    "Counters",
    "Engine",
    "Gate",
    "Outputs",
    "Packet",
    "PacketError",
    "Policy",
    "Snapshot",
    "SnapshotBusyError",
    "SnapshotDamagedError",
    "SnapshotError",
    "SnapshotForeignError",
    "SnapshotRing",
    "SnapshotWriteError",
    "State",
    "StepEvent",
    "StreamRunner",
    "WriterError",
]
