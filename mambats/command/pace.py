"""When a run stops, and how fast it plays what was recorded."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """The process was asked to end while it waited for a measurement. Not an error, and not caught as one."""


class Stop:
    """Turn SIGTERM and Ctrl-C into a request that is met between two measurements, never within one.

    Example:
        with Stop() as stop:
            for item in stop.between(items):
                ...
    """

    def __init__(self) -> None:
        self.asked = False
        self._waiting = False
        self._before = dict[int, Any]()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python has no signals
            for kind in (signal.SIGTERM, signal.SIGINT):
                self._before[kind] = signal.signal(kind, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items until there are no more, or the process is asked to end."""
        source = iter(items)
        while not self.asked:
            try:
                with self._wait():
                    item = next(source)
            except (StopIteration, Stopped):
                return
            yield item

    def sleep(self, seconds: float) -> None:
        """Sleep, unless asked to end."""
        try:
            with self._wait():
                time.sleep(max(seconds, 0))
        except Stopped:
            return

    @contextmanager
    def _wait(self) -> Generator[None]:
        self._waiting = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def _ask(self, kind: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._waiting:
            # A read of standard input would else begin again, and wait for ever.
            raise Stopped


class Pace:
    """Wait until a stamp is due.

    Args:
        speed: Times real time; None never waits.
    """

    def __init__(self, speed: float | None) -> None:
        self.speed = speed
        self._start: tuple[float, int] | None = None

    def lag(self, stamp_ns: int) -> float:
        """Return the seconds until a stamp is due; 0 or less where it is."""
        if self.speed is None:
            return 0.0
        now = time.monotonic()
        if self._start is None:
            self._start = now, stamp_ns
        begun, first = self._start
        return begun + (stamp_ns - first) * 1e-9 / self.speed - now
