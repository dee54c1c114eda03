"""The skin that makes Lightning write and read checkpoints the safe way of `mambats.checkpoint`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from mambats.checkpoint.file import read_checkpoint, sum_path, write_checkpoint


class SafeCheckpointIO(TorchCheckpointIO):
    """Write checkpoints whole with a sha256 beside them, verify before use, load tensors and plain values only.

    Example:
        Trainer(plugins=[SafeCheckpointIO()])
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write the checkpoint and its sum.

        Raises:
            CheckpointWriteError: If the disk refuses; the previous file stays good.
            TypeError: If storage options are given: there are none.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options are {storage_options!r}: this plugin has none. Leave them out.")
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Verify and read a checkpoint; `weights_only` is always True, whatever is asked."""
        return read_checkpoint(path, map_location if map_location is not None else "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its sum."""
        super().remove_checkpoint(path)
        with contextlib.suppress(FileNotFoundError):
            sum_path(path).unlink()
