"""The last good snapshots of a stream in a folder: written whole or not at all, read newest first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from mambats.streaming.errors import SnapshotBusyError, SnapshotError, SnapshotWriteError
from mambats.streaming.snapshots.file import Snapshot, decode, encode

if TYPE_CHECKING:
    from mambats.streaming.runner import StreamRunner

_NAME = "snapshot-{:012d}.safetensors"


class SnapshotRing:
    """Keep the last snapshots; one process at a time writes into a folder.

    A snapshot is written to a file of its own down to the disk and then renamed, so a process killed at any moment
    leaves only whole files under their names. Use it as a context, or `close` it.

    Args:
        folder: Made where it is missing.
        keep: Snapshots kept, 2 or more: the newest may be refused.

    Raises:
        SnapshotBusyError: If another process writes there.

    Example:
        with SnapshotRing("run/snapshots") as ring:
            ring.restore(runner)
            for packet in source.read_from(runner.counters.offset):
                runner.push(*packet)
                ring.save(runner.state())
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        if keep < 2:
            raise ValueError(f"keep is {keep}: need 2 or more, so that one is left if the newest is refused.")
        self.folder, self.keep = Path(folder), keep
        #: Why files were refused by the last `restore`, newest first; each message names its file.
        self.refused: list[SnapshotError] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder / "writer.lock")
        for left in self.folder.glob(".snapshot-*.part"):
            left.unlink(missing_ok=True)
        self._next = 1 + max((int(path.stem[9:]) for path in self.files()), default=0)

    def files(self) -> list[Path]:
        """Return the snapshots, newest first."""
        return sorted(
            (path for path in self.folder.glob("snapshot-*.safetensors") if path.stem[9:].isdigit()), reverse=True
        )

    def save(self, snapshot: Snapshot) -> Path:
        """Write a snapshot, then drop the oldest beyond `keep`.

        Raises:
            SnapshotWriteError: If the disk is full or gone; earlier files are as they were.
        """
        file = self.folder / _NAME.format(self._next)
        draft = file.with_name(f".{file.stem}.part")
        try:
            with draft.open("wb") as stream:
                stream.write(encode(snapshot))
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
            _settle(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise SnapshotWriteError(
                f"{file}: could not be written: {error.strerror or error}. Earlier snapshots are as they were, and the "
                "stream goes on. Free some space."
            ) from error
        self._next += 1
        for old in self.files()[self.keep :]:
            with contextlib.suppress(OSError):
                old.unlink()
        return file

    def restore(self, runner: StreamRunner) -> Path | None:
        """Load the newest usable snapshot; `refused` then says why newer ones were not.

        Returns:
            Its file, or None where there is none and the runner is as it was.
        """
        self.refused = []
        for file in self.files():
            try:
                runner.load_state(decode(file.read_bytes(), file.name))
            except SnapshotError as error:
                self.refused.append(error if file.name in str(error) else type(error)(f"{file.name}: {error}"))
            except OSError as error:
                self.refused.append(SnapshotError(f"{file.name}: cannot be read: {error}."))
            else:
                return file
        return None

    def close(self) -> None:
        """Let another process write."""
        self._lock.close()

    def __enter__(self) -> SnapshotRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(path: Path) -> IO[bytes]:
    """Open a file that this process alone holds; the system lets go of it if the process is killed."""
    stream = path.open("ab")
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: there the folder is the user's to guard
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise SnapshotBusyError(
            f"{path.parent}: another process writes snapshots here. Stop it, or take another folder."
        ) from error
    return stream


def _settle(folder: Path) -> None:
    """Bring a rename down to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
