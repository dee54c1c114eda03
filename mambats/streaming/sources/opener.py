"""A source by its address: FILE, - or SCHEME:PLACE. Another scheme is one file here and one line below."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mambats.formats.error import DataError
from mambats.streaming.engine import Engine, Packet
from mambats.streaming.sources.lines import Kind
from mambats.streaming.sources.messages import MessageSource
from mambats.streaming.sources.rows import RowSource, count_series
from mambats.streaming.sources.wire import Wire


class Source(Protocol):
    """Where packets come from."""

    #: Robots or series side by side.
    rows: int

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as they come, and what was wrong in place of one that cannot be used."""
        ...


@dataclass(frozen=True)
class SourceOptions:
    """What a source may be told on the command line.

    Args:
        rows: Robots or series; None finds out.
        time: Time column of a table; None finds it.
        kind: Format of a table; None goes by the file's ending.
        names: Names of the engine's streams by name or topic in the source.
    """

    rows: int | None = None
    time: str | None = None
    kind: Kind | None = None
    names: tuple[tuple[str, str], ...] = ()


#: Where a scheme's `open_source(place, engine, options)` stands; loaded when asked for.
SCHEMES = {
    "mcap": "mambats.streaming.sources.recording",
    "bag": "mambats.streaming.sources.recording",
    "recording": "mambats.streaming.sources.recording",
    "kitti": "mambats.streaming.sources.kitti",
    "zenoh": "mambats.streaming.sources.zenoh",
    "mqtt": "mambats.streaming.sources.mqtt",
}


def open_source(address: str, engine: Engine, options: SourceOptions) -> Source:
    """Open a source for an engine.

    Args:
        address: `-`, a table's path, or SCHEME:PLACE with one of `SCHEMES`. A model of several streams reads JSON
            messages, one a line, from `-` and from files .jsonl.
        engine: Who reads.
        options: What else was said.

    Raises:
        DataError: If the address is of an unknown scheme, or a table is given to an engine that reads several streams.
    """
    scheme, colon, place = address.partition(":")
    if colon and scheme in SCHEMES:
        return importlib.import_module(SCHEMES[scheme]).open_source(place, engine, options)
    facts = getattr(engine, "facts", None)
    if facts is None and (address == "-" or address.endswith(".jsonl")):
        names = {topic: name for name, topic in options.names}
        return MessageSource(address, Wire(engine.streams, names), options.rows or 1)
    if facts is None:
        raise DataError(
            f"{address}: the model reads {dict(engine.streams)}, a table holds one stream. Give messages one "
            f"a line (FILE.jsonl or -), or one of {', '.join(f'{name}:PLACE' for name in SCHEMES)}."
        )
    return RowSource(address, facts, options.rows or count_series(address, options.kind), options.time, options.kind)
