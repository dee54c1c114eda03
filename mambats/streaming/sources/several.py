"""Several sources at once, for one model: live ones through one queue, recordings merged by time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, TypeGuard

from mambats.formats.error import DataError
from mambats.streaming.engine import Packet
from mambats.streaming.sources.inbox import Inbox
from mambats.streaming.sources.opener import Source
from mambats.streaming.sources.rows import RowSource


class LiveSource(Source, Protocol):
    """A source that fills a queue from a thread of its own."""

    live: bool
    inbox: Inbox

    def receiving(self) -> AbstractContextManager[None]:
        """Fill the inbox meanwhile."""
        ...


class LiveSources:
    """Take what several peers publish through one queue, in the order in which it comes.

    Args:
        sources: Live ones; they get the first one's inbox.
    """

    live = True

    def __init__(self, sources: Sequence[LiveSource]) -> None:
        self.sources, self.inbox = sources, sources[0].inbox
        self.rows = max(source.rows for source in sources)
        for source in sources:
            source.inbox = self.inbox

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as they come; ends when the inbox is closed.

        Raises:
            DataError: If a peer cannot be had; the others are let go.
        """
        with ExitStack() as held:
            for source in self.sources:
                held.enter_context(source.receiving())
            yield from self.inbox


class Recordings:
    """Play several recordings as one, merged by their stamps; what is wrong with one comes where it stands.

    Args:
        sources: Each in the order of its stamps.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources, self.rows = sources, max(source.rows for source in sources)

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets in the order of their stamps; of equal ones that of the source named first."""
        parts = [_stamped(source, rank) for rank, source in enumerate(self.sources)]
        return (item for *_, item in heapq.merge(*parts, key=lambda one: one[:2]))


def joined(sources: Sequence[Source], names: Sequence[str]) -> Source:
    """Return sources as one.

    Args:
        sources: One or more.
        names: Their addresses, for messages.

    Raises:
        DataError: If live sources and recordings are mixed, or there are tables or pipes among several.
    """
    if len(sources) == 1:
        return sources[0]
    live = [source for source in sources if _is_live(source)]
    if len(live) == len(sources):
        return LiveSources(live)
    if live:
        kept = [name for name, source in zip(names, sources, strict=True) if not _is_live(source)]
        raise DataError(
            f"{kept[0]}: is played again, while others are live: stamps of the past would all be late. Name live "
            "sources together, or recordings."
        )
    for name, source in zip(names, sources, strict=True):
        if isinstance(source, RowSource) or name == "-":
            raise DataError(f"{name}: is one among {len(sources)} sources: a table or standard input comes alone.")
    return Recordings(sources)


def _is_live(source: Source) -> TypeGuard[LiveSource]:
    return bool(getattr(source, "live", False))


def _stamped(source: Source, rank: int) -> Iterator[tuple[int, int, Packet | DataError]]:
    """Yield items with what they are sorted by; an error stands at the packet before it."""
    last = -(2**63)
    for item in source.packets():
        last = last if isinstance(item, DataError) else item.stamp_ns
        yield last, rank, item
