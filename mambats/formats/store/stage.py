"""Write a folder whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mambats.formats.error import DataError


@contextmanager
def staged(folder: Path) -> Generator[Path]:
    """Yield an empty folder beside `folder` that takes its place if the block ends well, and is removed if not.

    Raises:
        DataError: If the disk is full or may not be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}). Name another folder.") from error
    try:
        yield stage
        if folder.exists():
            shutil.rmtree(folder)
        stage.rename(folder)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{folder}: writing failed ({error.strerror}); nothing was left behind. Make room or name another folder."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
