"""What recognisers look at, and what a format says of itself."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mambats.formats.repair import Policy
from mambats.series import Recording

HEAD = 4096  # bytes looked at: the header and the first rows of a table


class Look:
    """A file or a folder, looked at once.

    Args:
        path: What was given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = path.is_dir()

    @cached_property
    def head(self) -> bytes:
        """First bytes of a file, unpacked where it is gzipped; empty for a folder."""
        if self.is_folder:
            return b""
        with self.path.open("rb") as file:
            head = file.read(HEAD)
        if not head.startswith(b"\x1f\x8b"):
            return head
        try:
            with gzip.open(self.path, "rb") as file:
                return file.read(HEAD)
        except (OSError, EOFError, zlib.error):
            return b""

    @cached_property
    def lines(self) -> list[str]:
        """First whole lines of a text file without comments (`#`) and empty ones; none where it is no text."""
        if b"\0" in self.head:
            return []
        rows = self.head.decode("utf-8", "replace").splitlines()
        rows = rows[:-1] if len(self.head) == HEAD and len(rows) > 1 else rows
        return [row.strip() for row in rows if row.strip() and not row.startswith("#")]

    @cached_property
    def header(self) -> str:
        """First line of a text file, a comment too."""
        return self.head.split(b"\n", 1)[0].decode("utf-8", "replace").strip()

    def cells(self) -> list[str]:
        """Cells of the first line that is no comment, parted by commas or blanks."""
        return self.lines[0].replace(",", " ").split() if self.lines else []

    def numbers(self) -> int:
        """How many numbers each of the first lines has; 0 where they differ, or something is no number."""
        widths = {len(_numbers(line)) for line in self.lines[:20]}
        return widths.pop() if len(widths) == 1 else 0

    def has(self, *names: str) -> bool:
        """Whether a folder holds all of these (names with `*` are patterns)."""
        return self.is_folder and all(
            next(self.path.glob(name), None) is not None if "*" in name else (self.path / name).exists()
            for name in names
        )


@dataclass(frozen=True)
class Format:
    """One format that can be opened.

    Args:
        name: For lists: `euroc`.
        what: What is looked for, in words.
        fits: Whether a path is of it; reads no more than the first bytes and the names in a folder.
        read: Reads it.
    """

    name: str
    what: str
    fits: Callable[[Look], bool]
    read: Callable[[Path, Policy], Sequence[Recording]]


def _numbers(line: str) -> list[float]:
    try:
        return [float(cell) for cell in line.replace(",", " ").split()]
    except ValueError:
        return []
