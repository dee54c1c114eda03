"""MCAP files, read from front to back: a file cut off anywhere is read up to there, without its index.

Source: MCAP specification, version 0 (magic, records, chunks).
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mambats.formats.bags.container import Block, Channel, Damage
from mambats.formats.error import DataError
from mambats.formats.messages.layout import Wire
from mambats.formats.repair import REFUSE, Policy

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 1, 2, 3, 4, 5, 6, 15
HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<BQHIQ")  # the head, channel, sequence, log time
STAMPS = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, size, crc, length of the compression's name
WIRES: dict[tuple[str, str], tuple[Wire, str]] = {
    ("cdr", "ros2msg"): ("cdr", "msg"),
    ("cdr", "ros2idl"): ("cdr", "idl"),
    ("cdr", "omgidl"): ("cdr", "idl"),
    ("cdr", ""): ("cdr", "msg"),
    ("ros1", "ros1msg"): ("ros1", "msg"),
}


class McapFile:
    """One MCAP file.

    Args:
        path: The file.
        policy: `torn` says what to do where it is cut off or a checksum is wrong.

    Raises:
        DataError: If it is none.
    """

    def __init__(self, path: Path, policy: Policy = REFUSE) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.repairs: list[str] = []
        self._damage = Damage(path, policy, self.repairs)
        self._schemas: dict[int, Any] = {}
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path}: is no MCAP file (it does not begin with its magic). Give another file.")

    def blocks(self) -> Iterator[Block]:
        """Yield all messages, a block a chunk.

        Raises:
            DataError: If the file is cut off or damaged and the policy refuses that.
        """
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, loose = len(MAGIC), Block()
            while True:
                if at + HEAD.size > len(data):
                    self._damage.found(at, "the file is cut off (it has no end record)")
                    break
                kind, size = HEAD.unpack_from(data, at)
                if kind in (FOOTER, DATA_END):
                    if data[-len(MAGIC) :] != MAGIC:
                        self._damage.found(at, "the file is cut off in its index", "all messages are there")
                    break
                begin, end = at + HEAD.size, at + HEAD.size + size
                if end > len(data):
                    yield from self._torn(data, at, kind, size)
                    break
                if kind == CHUNK:
                    yield from self._chunk(data[begin:end], at)
                elif kind in (SCHEMA, CHANNEL, MESSAGE):
                    self._record(kind, data[begin:end], loose, at)
                at = end
            if loose.messages:
                yield loose

    def _torn(self, data: mmap.mmap, at: int, kind: int, size: int) -> Iterator[Block]:
        left = len(data) - at - HEAD.size
        name = "chunk" if kind == CHUNK else f"record of kind {kind}"
        self._damage.found(at, f"the file is cut off in a {name}: {left} of its {size} bytes are there")
        body = data[at + HEAD.size :]
        if kind == CHUNK and len(body) > CHUNK_HEAD.size and CHUNK_HEAD.unpack_from(body)[4] == 0:
            # Not compressed: the whole messages at its front can be had.
            yield self._records(body[CHUNK_HEAD.size + 8 :], at)

    def _chunk(self, body: bytes, at: int) -> Iterator[Block]:
        from mcap.records import Chunk
        from mcap.stream_reader import get_chunk_data_stream

        if len(body) < CHUNK_HEAD.size:
            self._damage.found(at, f"a chunk of {len(body)} bytes is no chunk", "it is left out")
            return
        start, end, size, crc, name = CHUNK_HEAD.unpack_from(body)
        compression = body[CHUNK_HEAD.size : CHUNK_HEAD.size + name].decode("utf-8", "replace")
        packed = body[CHUNK_HEAD.size + name + 8 :]
        if compression not in ("", "lz4", "zstd"):
            raise DataError(f"{self.path}, byte {at}: compression {compression!r} is not read: none, lz4 or zstd are.")
        try:
            stream, length = get_chunk_data_stream(Chunk(compression, packed, end, start, crc, size), validate_crc=True)
            data = stream.read(length)
        except Exception as error:  # each compressor has errors of its own
            self._damage.found(at, f"a chunk is damaged ({error})", "its messages are left out")
            return
        yield self._records(data, at)

    def _records(self, data: bytes, place: int) -> Block:
        block, at, whole = Block(), 0, len(data)
        # One call a message, and no other: this loop takes half the time of reading a million IMU messages.
        unpack, message, skip = MESSAGE_HEAD.unpack_from, HEAD.size + STAMPS.size, HEAD.size
        lists: dict[int, tuple[Callable[[bytes], None], Callable[[int], None]]] = {}
        while at + skip <= whole:
            # A channel's description may be shorter than the head of a message.
            kind, size, channel, _, log = (
                unpack(data, at) if at + message <= whole else (*HEAD.unpack_from(data, at), 0, 0, 0)
            )
            begin, at = at, at + skip + size
            if at > whole:
                break  # only in a chunk that is cut off, which was reported
            if kind == MESSAGE:
                if channel not in lists:
                    lists[channel] = block.lists(channel)
                add, stamp = lists[channel]
                add(data[begin + message : at])
                stamp(log)
            elif kind in (SCHEMA, CHANNEL):
                self._record(kind, data[begin + skip : at], block, place)
        return block

    def _record(self, kind: int, body: bytes, block: Block, at: int) -> None:
        from mcap import records
        from mcap.data_stream import ReadDataStream
        from mcap.exceptions import McapError

        try:
            if kind == MESSAGE:
                channel, _, log, _ = STAMPS.unpack_from(body)
                block.add(channel, log, body[STAMPS.size :])
            elif kind == SCHEMA:
                schema = records.Schema.read(ReadDataStream(io.BytesIO(body)))
                self._schemas[schema.id] = schema
            else:
                channel = records.Channel.read(ReadDataStream(io.BytesIO(body)))
                self.channels[channel.id] = self._describe(channel)
        except (McapError, struct.error, UnicodeDecodeError) as error:
            what = {MESSAGE: "message", SCHEMA: "schema", CHANNEL: "channel"}[kind]
            self._damage.found(at, f"a {what} record is damaged ({error or type(error).__name__})", "it is left out")

    def _describe(self, channel: Any) -> Channel:
        schema = self._schemas.get(channel.schema_id)
        name, encoding = (schema.name, schema.encoding) if schema else ("", "")
        wire, form = WIRES.get((channel.message_encoding, encoding), (None, "msg"))
        if wire is None:
            return Channel(channel.topic, f"{channel.message_encoding} {name}".strip(), None)
        text = schema.data.decode("utf-8", "replace") if schema else ""
        return Channel(channel.topic, _normal(name), wire, text, form)


def _normal(name: str) -> str:
    """Write a type as ROS 2 does: `sensor_msgs/Imu` and `sensor_msgs::msg::Imu` are `sensor_msgs/msg/Imu`."""
    parts = name.replace("::", "/").split("/")
    return f"{parts[0]}/msg/{parts[-1]}" if len(parts) == 2 else "/".join(parts)
