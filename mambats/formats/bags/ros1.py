"""ROS 1 bags (version 2.0), read from front to back: no index is needed, so one whose recorder was killed is read too.

Source: ROS wiki, "Bags/Format/2.0".
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from mambats.formats.bags.container import Block, Channel, Damage
from mambats.formats.error import DataError
from mambats.formats.repair import REFUSE, Policy

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG, CHUNK, CONNECTION = 2, 3, 5, 7
U32 = struct.Struct("<I")


class Ros1Bag:
    """One `.bag` file.

    Args:
        path: The file.
        policy: `torn` says what to do where it is cut off, was never closed, or a chunk is damaged.

    Raises:
        DataError: If it is none.
    """

    def __init__(self, path: Path, policy: Policy = REFUSE) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.repairs: list[str] = []
        self._damage = Damage(path, policy, self.repairs)
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path}: is no ROS 1 bag of version 2.0 (its first line is another). Convert it.")

    def blocks(self) -> Iterator[Block]:
        """Yield all messages, a block a chunk.

        Raises:
            DataError: If the file is cut off or damaged and the policy refuses that.
        """
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, loose = len(MAGIC), Block()
            while at < len(data):
                record = _record(data, at)
                if record is None:
                    self._damage.found(at, "the file is cut off in a record")
                    break
                fields, begin, end = record
                kind = _kind(fields)
                if kind == BAG and not any(fields.get(b"index_pos", b"\0")):
                    self._damage.found(at, "the bag was never closed (it has no index)", "it is read to its end")
                elif kind == BAG and _number(fields[b"index_pos"]) > len(data):
                    self._damage.found(
                        at,
                        f"the index should be at byte {_number(fields[b'index_pos'])}, the file has {len(data)}",
                        "it is read to its end",
                    )
                elif kind == CHUNK:
                    yield from self._chunk(fields, data[begin:end], at)
                elif kind in (CONNECTION, MESSAGE):
                    self._take(fields, data[begin:end], loose, at)
                at = end
            if loose.messages:
                yield loose

    def _chunk(self, fields: dict[bytes, bytes], packed: bytes, at: int) -> Iterator[Block]:
        from rosbags.rosbag1.reader import decompressors

        name = fields.get(b"compression", b"").decode("utf-8", "replace")
        if name not in decompressors:
            raise DataError(f"{self.path}, byte {at}: compression {name!r} is not read: none, bz2 or lz4 are.")
        try:
            data = decompressors[name](packed)
        except Exception as error:  # each compressor has errors of its own
            self._damage.found(at, f"a chunk is damaged ({error})", "its messages are left out")
            return
        block, inside, pattern = Block(), 0, _Pattern()
        while inside < len(data):
            found = pattern.message(data, inside)
            if found is not None:
                block.add(found[0], found[1], data[found[2] : found[3]])
                inside = found[3]
                continue
            record = _record(data, inside)
            if record is None:
                self._damage.found(at, f"a chunk is damaged (at its byte {inside})", "the rest of it is left out")
                break
            own, begin, end = record
            pattern.learn(data, inside, own)
            inside = end
            self._take(own, data[begin:inside], block, at)
        yield block

    def _take(self, fields: dict[bytes, bytes], body: bytes, block: Block, at: int) -> None:
        kind = _kind(fields)
        if kind in (MESSAGE, CONNECTION) and len(fields.get(b"conn", b"")) != 4:
            self._damage.found(at, "a record does not say its connection", "it is left out")
        elif kind == MESSAGE and len(fields.get(b"time", b"")) != 8:
            self._damage.found(at, "a message has no time", "it is left out")
        elif kind == MESSAGE:
            seconds, rest = struct.unpack("<II", fields[b"time"])
            block.add(_number(fields[b"conn"]), seconds * 10**9 + rest, body)
        elif kind == CONNECTION:
            facts = _fields(body) or {}
            text = {key: facts.get(key, b"").decode("utf-8", "replace") for key in (b"type", b"message_definition")}
            package, _, name = text[b"type"].rpartition("/")
            topic = fields.get(b"topic", b"").decode("utf-8", "replace")
            self.channels[_number(fields[b"conn"])] = Channel(
                topic if topic.startswith("/") else f"/{topic}",
                f"{package.removesuffix('/msg')}/msg/{name}",
                "ros1",
                text[b"message_definition"],
            )


class _Pattern:
    """The header of message records as its writer lays it out: all of them but for the numbers are the same bytes."""

    def __init__(self) -> None:
        self.form: struct.Struct | None = None
        self.names: tuple[bytes, ...] = ()
        self.text: list[int] = []
        self.place: dict[bytes, int] = {}

    def learn(self, data: bytes, at: int, fields: dict[bytes, bytes]) -> None:
        """Take the layout from the first message's header."""
        if self.form is not None or set(fields) != {b"op", b"conn", b"time"} or fields[b"op"][0] != MESSAGE:
            return
        codes = {b"op": "B", b"conn": "I", b"time": "II"}
        parts = "".join(f"4s{len(name) + 1}s{codes[name]}" for name in fields)
        form = struct.Struct(f"<4s{parts}I")
        values = form.unpack_from(data, at)
        self.names = tuple(value for value in values if isinstance(value, bytes))
        order = [name for name in fields for _ in range(2 if name == b"time" else 1)]
        numbers = [place for place, value in enumerate(values) if isinstance(value, int)]
        self.place = dict(zip(reversed(order), reversed(numbers[:-1]), strict=True))
        self.text = [place for place, value in enumerate(values) if isinstance(value, bytes)]
        self.form = form

    def message(self, data: bytes, at: int) -> tuple[int, int, int, int] | None:
        """Return connection, log time, begin and end of a message's bytes; None where the record is another."""
        if self.form is None or at + self.form.size > len(data):
            return None
        values = self.form.unpack_from(data, at)
        begin = at + self.form.size
        end = begin + values[-1]
        if end > len(data) or values[self.place[b"op"]] != MESSAGE:
            return None
        if tuple([values[place] for place in self.text]) != self.names:
            return None
        time = self.place[b"time"]
        return values[self.place[b"conn"]], values[time] * 10**9 + values[time + 1], begin, end


def _record(data: bytes | mmap.mmap, at: int) -> tuple[dict[bytes, bytes], int, int] | None:
    """Return the header of a record and where its data begin and end; None where it is cut off."""
    if at + 4 > len(data):
        return None
    begin = at + 4 + U32.unpack_from(data, at)[0]
    if begin + 4 > len(data):
        return None
    end = begin + 4 + U32.unpack_from(data, begin)[0]
    fields = _fields(data[at + 4 : begin]) if end <= len(data) else None
    return None if fields is None else (fields, begin + 4, end)


def _fields(header: bytes) -> dict[bytes, bytes] | None:
    found, at = dict[bytes, bytes](), 0
    while at + 4 <= len(header):
        end = at + 4 + U32.unpack_from(header, at)[0]
        name, equals, value = header[at + 4 : end].partition(b"=")
        if end > len(header) or not equals:
            return None
        found[name], at = value, end
    return found


def _kind(fields: dict[bytes, bytes]) -> int:
    return (fields.get(b"op") or b"\0")[0]


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")
