"""Messages one a line, from a file or standard input: what a network would bring, for a model of several streams."""

from __future__ import annotations

from collections.abc import Iterator

from mambats.formats.error import DataError
from mambats.streaming.engine import Packet
from mambats.streaming.sources.rows import opened
from mambats.streaming.sources.wire import LARGEST, Wire


class MessageSource:
    """Read JSON messages (see `Wire`), one a line, each with its `stream`.

    Args:
        path: File, or - for standard input.
        wire: What decodes.
        rows: Robots.
    """

    def __init__(self, path: str, wire: Wire, rows: int = 1) -> None:
        self.path, self.wire, self.rows = path, wire, rows
        self.name = "standard input" if path == "-" else path

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as lines come, and what was wrong with a line that cannot be used.

        Raises:
            DataError: If the file is no text.
        """
        with opened(self.path) as file:
            number = 0
            while line := file.readline(LARGEST + 1):
                number += 1
                where = f"{self.name}, line {number}"
                if len(line) > LARGEST and not line.endswith("\n"):
                    yield DataError(f"{where}: is longer than {LARGEST} characters.")
                    while (line := file.readline(LARGEST)) and not line.endswith("\n"):
                        pass
                elif line.strip():
                    yield self.wire.packet(where, line.encode())
