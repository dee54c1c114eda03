"""The file: written whole or not at all, verified before use, holding no pickled code.

Beside each `best.ckpt` lies `best.ckpt.sha256` in the format of `sha256sum`. Neither the zip of torch nor safetensors
notices a flipped bit (230 of 300 single flips loaded silently when tried), so the sum is what finds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from mambats.checkpoint.errors import (
    CheckpointDamagedError,
    CheckpointForeignError,
    CheckpointMissingError,
    CheckpointUnverifiedError,
    CheckpointWriteError,
)

#: Key under which `read_checkpoint` notes the file, so that later messages can name it.
FILE = "mambats_file"


def sum_path(path: str | Path) -> Path:
    """Return the path of the sum beside a checkpoint."""
    return Path(f"{path}.sha256")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify a checkpoint and read it with `weights_only=True`.

    Raises:
        CheckpointMissingError: If there is no such file.
        CheckpointUnverifiedError: If its sum is missing.
        CheckpointDamagedError: If the content is not what was written.
        CheckpointForeignError: If it holds anything but tensors and plain values.
    """
    file = Path(path)
    verify(file)
    if not zipfile.is_zipfile(file):
        raise CheckpointForeignError(f"{file}: is not a checkpoint. Give a .ckpt file that `mambats fit` wrote.")
    try:
        content = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointForeignError(
            f"{file}: holds more than tensors and plain values, so loading it could run foreign code; nothing was "
            "loaded. Give a checkpoint that `mambats fit` wrote."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise CheckpointForeignError(f"{file}: is not a checkpoint ({error}). Give a .ckpt file.") from error
    if not isinstance(content, dict):
        raise CheckpointForeignError(
            f"{file}: holds {type(content).__name__}, a checkpoint is a dict. Give a .ckpt file."
        )
    return {**cast("dict[str, Any]", content), FILE: str(file)}


def verify(file: Path) -> None:
    """Compare a file with the sum beside it.

    Raises:
        CheckpointError: If either is missing or they disagree.
    """
    if not file.is_file():
        raise CheckpointMissingError(
            f"{file}: there is no such checkpoint. Check the path, or run `mambats fit` first."
        )
    beside = sum_path(file)
    try:
        known = {line.split()[0] for line in beside.read_text(encoding="ascii").splitlines() if line.strip()}
    except FileNotFoundError:
        raise CheckpointUnverifiedError(
            f"{file}: {beside.name} is not beside it, so nothing says the file is whole. Copy it along; if you trust "
            f"the file as it is, make one: sha256sum {file.name} > {beside.name}"
        ) from None
    except UnicodeDecodeError:
        known = set[str]()
    found = _sha256(file)
    if found not in known:
        raise CheckpointDamagedError(
            f"{file}: has sha256 {found[:12]}..., {beside.name} says {min(known, default='nothing')[:12]}...: "
            "the file is truncated or was changed; nothing was loaded. "
            "Take another copy or another checkpoint of the run."
        )


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint and its sum so that at every moment a whole file with its sum is there.

    The order matters: the sum first names both the new and the old content, then the file is replaced, then
    the sum names the new one alone. A process killed in between leaves a file that verifies.

    Raises:
        CheckpointWriteError: If the disk is full or the folder cannot be written; the previous file stays good.
    """
    file = Path(path)
    draft: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(checkpoint, file)
        new = _sha256(draft)
        old = _sha256(file) if file.is_file() else new
        _replace_text(sum_path(file), _sum_lines(file, new, old))
        draft.replace(file)
        _replace_text(sum_path(file), _sum_lines(file, new))
    except (OSError, RuntimeError) as error:
        cause = _disk_error(error)
        if cause is None:
            raise
        raise CheckpointWriteError(
            f"{file}: could not be saved: {cause}. An earlier checkpoint there is as it was. Free some space or set "
            "`runs` to a folder on another disk."
        ) from error
    finally:
        if draft is not None:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def _draft(checkpoint: Mapping[str, Any], file: Path) -> Path:
    """Write the content to a file of its own in the same folder, down to the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _replace_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="ascii")
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _sum_lines(file: Path, *sums: str) -> str:
    return "".join(f"{each}  {file.name}\n" for each in dict.fromkeys(sums))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _disk_error(error: BaseException) -> str | None:
    """Return the system's words if the disk refused; torch's zip writer hides them behind a RuntimeError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    if "PytorchStreamWriter" in str(error) or "unexpected pos" in str(error):
        return os.strerror(errno.ENOSPC)
    return None
