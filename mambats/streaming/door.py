"""What may come in: shape and kind of a packet, before anything is changed by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import Engine, FloatArray, Packet
from mambats.streaming.errors import PacketError
from mambats.streaming.moment import Record

_STAMPS = 2**62  # nanoseconds, 146 years either way: sums of two stamps still fit into 64 bits


class Door:
    """Check the form of packets.

    Args:
        engine: Whose streams they are for.
        rows: Robots of the batch.
    """

    def __init__(self, engine: Engine, rows: int) -> None:
        self._rows = rows
        self._streams = {name: (rank, size) for rank, (name, size) in enumerate(engine.streams.items())}
        self._whole = [np.ones(size, np.bool_) for size in engine.streams.values()]

    def admit(self, packet: Packet) -> Record:
        """Return the packet with its values as float32.

        Raises:
            PacketError: If stream or robot is unknown, stamp or number no integer, or the values not C real numbers.
        """
        stream, stamp, given, row, sequence = packet
        if not isinstance(stream, str) or stream not in self._streams:
            raise PacketError(f"stream {stream!r} is unknown: the engine reads {', '.join(self._streams)}.")
        row, stamp = self.row(row, stream), self.stamp(stamp, stream)
        if sequence is not None and not _whole(sequence):
            raise PacketError(f"{stream}: the sender's number is {sequence!r}: give an int, or None if it has none.")
        rank, size = self._streams[stream]
        values = _numbers(stream, given, size)
        number = None if sequence is None else int(sequence)
        square = float(np.vdot(values, values))
        if square - square == 0:  # a sum of squares is finite only if all are
            return Record(stamp, rank, row, values, self._whole[rank], number)
        observed = np.isfinite(values)
        values = np.where(observed, values, np.float32(0))
        return Record(stamp, rank, row, values, observed, number, missing=int((~observed).sum()))

    def row(self, row: int, what: str) -> int:
        """Return a robot's number, if there is such a robot; `what` begins the message."""
        if not _whole(row) or not 0 <= row < self._rows:
            raise PacketError(f"{what}: row {row!r} is unknown: the stream runs {self._rows} robots, from 0.")
        return int(row)

    def stamp(self, stamp: int, what: str) -> int:
        """Return a time, if it is one; `what` begins the message."""
        if not _whole(stamp) or not -_STAMPS < stamp < _STAMPS:
            raise PacketError(f"{what}: stamp {stamp!r} is no time: give int nanoseconds within 146 years of 0.")
        return int(stamp)


def _whole(number: Any) -> bool:
    return isinstance(number, (int, np.integer))


def _numbers(stream: str, given: npt.ArrayLike, size: int) -> FloatArray:
    if size == 0:
        raise PacketError(f"{stream} has no channels: it asks at ticks (Policy.tick_ns), nothing is pushed into it.")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise PacketError(f"{stream}: the values are no array ({error}): give {size} numbers.") from None
    if array.dtype.kind not in "fiu":
        raise PacketError(f"{stream}: values of kind {array.dtype}: give {size} real numbers, NaN for missing ones.")
    if array.shape != (size,):
        raise PacketError(f"{stream}: values of shape {array.shape}, needed ({size},): one a channel.")
    if array.dtype == np.float32:
        return array.copy()  # the caller may write over it
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
