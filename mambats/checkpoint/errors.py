"""What can be wrong with a checkpoint, each under its own name."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, or must not be used."""


class CheckpointMissingError(CheckpointError, FileNotFoundError):
    """No file at the path given."""


class CheckpointDamagedError(CheckpointError):
    """The file is not what was written: truncated, a bit flipped, or changed on purpose."""


class CheckpointUnverifiedError(CheckpointError):
    """The sum beside the file is missing, so nothing says that the file is whole."""


class CheckpointForeignError(CheckpointError):
    """The file is whole but was not written by mambats, or by a newer layout of it."""


class CheckpointMismatchError(CheckpointError):
    """The file holds another model than the one to be loaded."""


class CheckpointWriteError(CheckpointError):
    """The file could not be written; the previous one is as it was."""
