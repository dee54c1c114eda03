"""Checkpoints that can be trusted: `load_task` for users, the entry for tasks, `plugin` for a Trainer.

`mambats.checkpoint.plugin` holds `SafeCheckpointIO` and loads Lightning; this package alone does not.
"""

from mambats.checkpoint.entry import Entry, check_same_model, load_task, read_entry, write_entry
from mambats.checkpoint.errors import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointForeignError,
    CheckpointMismatchError,
    CheckpointMissingError,
    CheckpointUnverifiedError,
    CheckpointWriteError,
)
from mambats.checkpoint.file import read_checkpoint, sum_path, verify, write_checkpoint

__all__ = [
    "CheckpointDamagedError",
    "CheckpointError",
    "CheckpointForeignError",
    "CheckpointMismatchError",
    "CheckpointMissingError",
    "CheckpointUnverifiedError",
    "CheckpointWriteError",
    "Entry",
    "check_same_model",
    "load_task",
    "read_checkpoint",
    "read_entry",
    "sum_path",
    "verify",
    "write_checkpoint",
    "write_entry",
]
