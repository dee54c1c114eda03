"""What may come in: shape and kind of a packet, before anything is changed by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import BoolArray, Engine, FloatArray, Packet
from mambats.streaming.errors import PacketError

_STAMPS = 2**62  # nanoseconds, 146 years either way: sums of two stamps still fit into 64 bits


class Admitted(NamedTuple):
    """A packet whose form is right."""

    packet: Packet
    rank: int
    values: FloatArray  #: (C,), 0 where not observed
    observed: BoolArray  #: (C,) finite as float32
    missing: int  #: how many are not


class Door:
    """Check the form of packets.

    Args:
        engine: Whose streams they are for.
        rows: Robots of the batch.
    """

    def __init__(self, engine: Engine, rows: int) -> None:
        self.rows, self.channels = rows, tuple(engine.streams.values())
        self._streams = {name: (rank, size) for rank, (name, size) in enumerate(engine.streams.items())}
        self._whole = [np.ones(size, np.bool_) for size in self.channels]

    def admit(self, packet: Packet) -> Admitted:
        """Return the packet with its values as float32.

        Raises:
            PacketError: If stream or robot is unknown, stamp or number no integer, or the values not C real numbers.
        """
        stream, stamp, given, row, sequence = packet
        if not isinstance(stream, str) or stream not in self._streams:
            raise PacketError(f"stream {stream!r} is unknown: the engine reads {', '.join(self._streams)}.")
        if not isinstance(row, (int, np.integer)) or not 0 <= row < self.rows:
            raise PacketError(f"{stream}: row {row!r} is unknown: the stream runs {self.rows} robots, from 0.")
        if not isinstance(stamp, (int, np.integer)) or not -_STAMPS < stamp < _STAMPS:
            raise PacketError(f"{stream}: stamp {stamp!r} is no time: give int nanoseconds within 146 years of 0.")
        if sequence is not None and not isinstance(sequence, (int, np.integer)):
            raise PacketError(
                f"{stream}: the sender's number is {sequence!r}: give an int, or None where there is none."
            )
        packet = Packet(stream, int(stamp), given, int(row), None if sequence is None else int(sequence))
        rank, size = self._streams[stream]
        values = self._numbers(stream, given, size)
        square = float(np.vdot(values, values))
        if square - square == 0:  # a sum of squares is finite only if all are
            return Admitted(packet, rank, values, self._whole[rank], 0)
        observed = np.isfinite(values)
        return Admitted(packet, rank, np.where(observed, values, np.float32(0)), observed, int((~observed).sum()))

    @staticmethod
    def _numbers(stream: str, given: npt.ArrayLike, size: int) -> FloatArray:
        if size == 0:
            raise PacketError(
                f"{stream} has no channels: it asks at ticks (Policy.tick_ns), nothing is pushed into it."
            )
        try:
            array = np.asarray(given)
        except ValueError as error:
            raise PacketError(f"{stream}: the values are no array ({error}): give {size} numbers.") from None
        if array.dtype.kind not in "fiu":
            raise PacketError(
                f"{stream}: values of kind {array.dtype}: give {size} real numbers, NaN for missing ones."
            )
        if array.shape != (size,):
            raise PacketError(f"{stream}: values of shape {array.shape}, needed ({size},): one a channel.")
        if array.dtype == np.float32:
            return array.copy()  # the caller may write over it
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
