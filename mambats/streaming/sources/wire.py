"""Messages of a network as packets, our JSON or ROS messages in CDR: a packet or an error, whatever bytes come."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mambats.formats.error import DataError
from mambats.streaming.engine import FloatArray, Packet
from mambats.streaming.engines.frame import COLUMNS, DETECTIONS, pack_frame, room_of

#: Longest message in bytes; a packet of numbers has some hundred.
LARGEST = 1 << 20
_STAMPS = range(-(2**63), 2**63)
_KEYS = {"stream", "stamp_ns", "row", "sequence"}


class Wire:
    """Decode messages for an engine.

    A message is JSON, `{"stamp_ns": 1, "values": [0.1, null], "sequence": 7, "row": 0, "stream": "imu"}` with the last
    three optional (null is a value not measured), or a ROS message in CDR where its type is said. A frame of detections
    has `boxes` in place of `values`: a list of x, y, z, length, width, height, yaw and, where there are scores, score.

    Args:
        streams: Channels of the engine's streams, by name.
        topics: The engine's stream by topic; a topic that is not there is a stream by its last part.
        largest: Longest message, bytes.
    """

    def __init__(
        self, streams: Mapping[str, int], topics: Mapping[str, str] | None = None, largest: int = LARGEST
    ) -> None:
        unknown = sorted(set((topics or {}).values()) - streams.keys())
        if unknown:
            raise DataError(f"--stream names {unknown}, the model reads {dict(streams)}. Name one of these.")
        self.streams, self.topics, self.largest = dict(streams), dict(topics or {}), largest

    def packet(self, topic: str, body: bytes, ros_type: str | None = None) -> Packet | DataError:
        """Decode a message.

        Args:
            topic: Where it came from.
            body: Its bytes.
            ros_type: `sensor_msgs/msg/Imu` and the like where the body is CDR, else None.

        Returns:
            The packet, or what is wrong with the message; nothing is raised, whatever the bytes.
        """
        try:
            if len(body) > self.largest:
                raise DataError(f"{topic}: a message of {len(body)} bytes, at most {self.largest} are read.")
            return self._json(topic, body) if ros_type is None else self._ros(topic, body, ros_type)
        except DataError as error:
            return error

    def stream(self, topic: str) -> str:
        """Return the engine's stream of a topic.

        Raises:
            DataError: If there is none.
        """
        name = self.topics.get(topic, topic.rpartition("/")[2])
        if name not in self.streams:
            raise DataError(
                f"{topic}: belongs to none of the streams {list(self.streams)}. Say --stream NAME={topic}, or publish "
                "under a topic that ends in the stream's name."
            )
        return name

    def _json(self, topic: str, body: bytes) -> Packet:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{topic}: is not JSON ({str(error)[:80]}).") from error
        framed = isinstance(found, dict) and "boxes" in found
        content = "boxes" if framed else "values"
        if not isinstance(found, dict) or not {"stamp_ns", content} <= found.keys() <= {*_KEYS, content}:
            raise DataError(f"{topic}: need an object of stamp_ns and values (or boxes), and at most {sorted(_KEYS)}.")
        name = found["stream"] if "stream" in found else self.stream(topic)
        if not isinstance(name, str) or name not in self.streams:
            raise DataError(f"{topic}: is of stream {str(name)[:80]!r}, the model reads {list(self.streams)}.")
        stamp, row = _whole(topic, found, "stamp_ns"), _whole(topic, found, "row", 0)
        sequence = _whole(topic, found, "sequence") if found.get("sequence") is not None else None
        if framed and name != DETECTIONS:
            raise DataError(f"{topic}: has boxes, the stream {name} takes values: boxes are for {DETECTIONS!r}.")
        make = _frame if framed else _numbers
        return Packet(name, stamp, make(topic, found[content], self.streams[name]), row, sequence)

    def _ros(self, topic: str, body: bytes, ros_type: str) -> Packet:
        from mambats.streaming.sources.ros_wire import decode

        name = self.stream(topic)
        stamp, values = decode(topic, body, ros_type, self.streams[name])
        return Packet(name, stamp, values)


def _whole(topic: str, found: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = found.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value not in _STAMPS:
        raise DataError(f"{topic}: {name} is {repr(value)[:80]}, need a whole number of 64 bits.")
    return value


def _frame(topic: str, boxes: Any, width: int) -> FloatArray:
    """Return a frame of detections as its packet has it."""
    if not isinstance(boxes, list):
        raise DataError(f"{topic}: boxes are {str(boxes)[:80]}, need a list of them, empty where nothing was seen.")
    size = len(boxes[0]) if boxes and isinstance(boxes[0], list) else len(COLUMNS)
    if size not in (len(COLUMNS) - 1, len(COLUMNS)):
        raise DataError(f"{topic}: a box has {size} numbers, need 7, or 8 with its score.")
    table = np.array([_numbers(topic, box, size) for box in boxes]).reshape(len(boxes), size)
    return pack_frame(table[:, :7], table[:, 7] if size == len(COLUMNS) else None, room_of(width))


def _numbers(topic: str, values: Any, width: int) -> FloatArray:
    if not isinstance(values, list) or len(values) != width:
        given = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
        raise DataError(f"{topic}: has {given}, the stream has {width} channels.")
    cells = [math.nan if value is None else value for value in values]
    if not all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells):
        raise DataError(f"{topic}: values are {str(values)[:80]}, need numbers, or null where not measured.")
    with np.errstate(over="ignore"):
        try:
            return np.array(cells, np.float64).astype(np.float32)
        except OverflowError as error:
            raise DataError(f"{topic}: a value is beyond float64.") from error
