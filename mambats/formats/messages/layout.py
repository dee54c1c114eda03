"""Where the fields of ROS messages lie, so that numpy reads thousands of equal messages in one view.

Nearly all messages of a topic have the same bytes but for their numbers: strings and sequences of the same lengths. The
first message is walked field by field; all that have its size and its lengths are then one structured array.

Source: OMG DDS-XTYPES 1.3, section 7.4.3 (XCDR version 1, "plain CDR"); ROS wiki, "ROS/Connection Header" and "msg".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Wire = Literal["cdr", "ros1"]
Table = npt.NDArray[Any]
#: The definitions of message types by name, as rosbags parses them.
Definitions = Mapping[str, Any]

CODES = {
    "bool": "u1",  # not ?: a byte of 2 is no numpy truth value
    "byte": "u1",
    "char": "u1",
    "octet": "u1",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
BASE, NAME, ARRAY, SEQUENCE = 1, 2, 3, 4  # rosbags.interfaces.Nodetype
MANY = 64  # layouts kept: a topic of clouds has one for each size


class MessageError(ValueError):
    """Bytes that are not a message of the type they are said to be."""


@dataclass(frozen=True)
class Layout:
    """Where the fields of messages of one size and with equal lengths lie.

    Args:
        dtype: Fields by dotted path, such as `header.stamp.sec` or `transforms.0.child_frame_id`; strings are bytes.
        counts: Names of the fields that hold lengths, and the length that each must have.
    """

    dtype: np.dtype[Any]
    counts: tuple[tuple[str, int], ...]

    def fits(self, table: Table) -> npt.NDArray[np.bool_]:
        """Tell which messages have these lengths; table has this dtype, shape (n,)."""
        same = np.ones(len(table), np.bool_)
        for name, count in self.counts:
            same &= table[name] == count
        return same


class Layouts:
    """All layouts of one topic, found as messages come.

    Args:
        definitions: Types by name.
        name: Type of the messages.
        wire: How they are laid out: `cdr` (ROS 2) or `ros1`.
    """

    def __init__(self, definitions: Definitions, name: str, wire: Wire) -> None:
        self.definitions = definitions
        self.name = name
        self.wire: Wire = wire
        self._known: dict[int, list[Layout]] = {}

    def tables(self, messages: Sequence[bytes]) -> list[tuple[npt.NDArray[np.int64], Table]]:
        """Group messages by layout: their rows in `messages`, and the fields as a structured array.

        Raises:
            MessageError: If one ends before its fields do, or has another encoding.
        """
        sizes = np.fromiter(map(len, messages), np.int64, len(messages))
        groups: list[tuple[npt.NDArray[np.int64], Table]] = []
        for size in np.unique(sizes):
            groups += self._equal_sizes(messages, np.flatnonzero(sizes == size))
        return groups

    def _equal_sizes(
        self, messages: Sequence[bytes], rows: npt.NDArray[np.int64]
    ) -> list[tuple[npt.NDArray[np.int64], Table]]:
        first = messages[int(rows[0])]
        chosen = messages if len(rows) == len(messages) else [messages[row] for row in rows.tolist()]
        data = first if len(rows) == 1 else b"".join(chosen)
        groups: list[tuple[npt.NDArray[np.int64], Table]] = []
        left = np.arange(len(rows))
        tried = 0
        known = self._known.setdefault(len(first), [])
        while left.size:
            if tried == len(known):
                known.append(self.walk(messages[int(rows[left[0]])]))
            table: Table = np.frombuffer(data, known[tried].dtype)
            table = table if left.size == len(rows) else table[left]
            same = known[tried].fits(table)
            if same.any():
                groups.append((rows[left[same]], table if same.all() else table[same]))
            left, tried = left[~same], tried + 1
        if len(self._known) > MANY:
            self._known.clear()
        return groups

    def walk(self, message: bytes) -> Layout:
        """Find the layout of one message.

        Raises:
            MessageError: If it ends before its fields do, or has another encoding.
        """
        walk = _Walk(self.definitions, self.wire, message)
        walk.fields_of(self.name, "")
        names = [name for name, _, _ in walk.fields]
        formats, offsets = [form for _, form, _ in walk.fields], [at for _, _, at in walk.fields]
        dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": len(message)})
        return Layout(dtype, tuple(walk.counts))


class _Walk:
    """One message, field by field."""

    def __init__(self, definitions: Definitions, wire: Wire, message: bytes) -> None:
        self.definitions = definitions
        self.message = message
        self.cdr = wire == "cdr"
        self.at = 4 if self.cdr else 0
        if self.cdr and (len(message) < 4 or message[0] != 0 or message[1] > 1):
            raise MessageError(f"its encoding is {message[:2].hex()!r}, only plain CDR (0000, 0001) is read")
        self.order = ">" if self.cdr and message[1] == 0 else "<"
        # The second byte of CDR says its byte order, which parts layouts as lengths do.
        self.fields: list[tuple[str, Any, int]] = [("#order", "u1", 1)] if self.cdr else []
        self.counts: list[tuple[str, int]] = [("#order", message[1])] if self.cdr else []

    def fields_of(self, name: str, path: str) -> None:
        if name not in self.definitions:
            raise MessageError(f"the definition of {name} is missing")
        for field, description in self.definitions[name][1]:
            self.field(description, path + field)

    def field(self, description: Any, path: str) -> None:
        kind, detail = int(description[0]), description[1]
        if kind == NAME:
            self.fields_of(detail, path + ".")
        elif kind == BASE and detail[0] == "string":
            count = self.count(path)
            text = max(count - 1, 0) if self.cdr else count  # ROS 2 ends strings with a zero byte
            self.take(path, f"S{max(text, 1)}" if text else "V0", count)
        elif kind == BASE:
            self.many(detail[0], path, None)
        else:
            inner, count = detail
            count = self.count(path) if kind == SEQUENCE else count
            if int(inner[0]) == BASE and inner[1][0] != "string":
                self.many(inner[1][0], path, count)
            else:
                for k in range(count):
                    self.field(inner, f"{path}.{k}")

    def count(self, path: str) -> int:
        self.many("uint32", f"#{path}", None)
        (count,) = struct.unpack_from(self.order + "I", self.message, self.at - 4)
        if count > len(self.message):
            raise MessageError(f"{path} is said to have {count} items, the whole message has {len(self.message)} bytes")
        self.counts.append((f"#{path}", count))
        return count

    def many(self, base: str, path: str, count: int | None) -> None:
        if base not in CODES:
            raise MessageError(f"{path} is {base}, which is not read")
        code = CODES[base]
        size = int(code[1])
        if self.cdr and count != 0:
            # Aligned to their size, counted from behind the four bytes of the encapsulation.
            self.at += -(self.at - 4) % size
        form = self.order + code
        self.take(path, form if count is None else (form, (count,)), size * (1 if count is None else count))

    def take(self, path: str, form: Any, size: int) -> None:
        if self.at + size > len(self.message):
            raise MessageError(f"{path} ends at byte {self.at + size}, the message has {len(self.message)} bytes")
        self.fields.append((path, form, self.at))
        self.at += size
