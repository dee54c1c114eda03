"""What can be wrong with a stream or its snapshots, each under its own name."""

from __future__ import annotations


class PacketError(ValueError):
    """A packet of an unknown stream or robot, or of another shape or kind; nothing was changed by it."""


class WriterError(RuntimeError):
    """A second thread pushes into a stream that has one writer."""


class SnapshotError(ValueError):
    """A snapshot that cannot be written, or must not be used."""


class SnapshotDamagedError(SnapshotError):
    """The file is not what was written: torn, or a bit flipped."""


class SnapshotForeignError(SnapshotError):
    """The file is whole, but of another model, policy, number of robots or layout."""


class SnapshotWriteError(SnapshotError, OSError):
    """The file could not be written; earlier ones are as they were, and so is the stream."""


class SnapshotBusyError(SnapshotError):
    """Another process writes snapshots into this folder."""
