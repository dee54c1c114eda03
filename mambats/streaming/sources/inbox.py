"""Between the thread that receives and the one that writes: a queue with an end, from which nothing is lost unseen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from mambats.formats.error import DataError
from mambats.streaming.engine import Packet


class Inbox:
    """Hold what came until it is taken; the oldest fall out of a full one, and are told of.

    Args:
        room: Messages held at most.

    Raises:
        ValueError: If room is below 1.
    """

    def __init__(self, room: int = 10_000) -> None:
        if room < 1:
            raise ValueError(f"room is {room}: need a place for 1 message or more.")
        self.room = room
        #: Messages that fell out so far.
        self.dropped = 0
        self._held: deque[Packet | DataError] = deque()
        self._change = threading.Condition()
        self._closed = False

    def put(self, item: Packet | DataError) -> None:
        """Hold an item, from any thread."""
        with self._change:
            if len(self._held) == self.room:
                self._held.popleft()
                self.dropped += 1
            self._held.append(item)
            self._change.notify()

    def close(self) -> None:
        """Let the taker end when all that is held was taken."""
        with self._change:
            self._closed = True
            self._change.notify()

    def __iter__(self) -> Iterator[Packet | DataError]:
        """Yield items as they come, and one error for every message that fell out; ends after `close`."""
        told = 0
        while True:
            with self._change:
                while not self._held and not self._closed:
                    self._change.wait()
                lost, item = self.dropped - told, self._held.popleft() if self._held else None
            for _ in range(lost):
                told += 1
                yield DataError(
                    f"inbox: a message fell out, {self.room} wait already: measurements come faster than they go."
                )
            if item is None:
                return
            yield item
