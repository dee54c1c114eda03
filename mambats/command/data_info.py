"""`mambats data info`: what is in a recording, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mambats.command.data_facts import Facts, recording_facts

SLOW = 0.1  # Hz: below, 1/3600 is read more easily than 0.0002778
DATED = 10**17  # ns: stamps above are dates (1973 and later), those below count from the recording's start


def show_info(path: Path, *, strict: bool, as_json: bool, most: int) -> None:
    """Print what is at a path.

    Args:
        path: File or folder of any known format.
        strict: Refuse faults; else they are repaired where that can be done, and listed.
        as_json: Print one JSON list, of all recordings.
        most: Recordings to print in full as text.

    Raises:
        DataError: If nothing there can be read.
    """
    from mambats.formats.opener import open_any, recognise
    from mambats.formats.repair import REFUSE, REPAIR

    recordings = open_any(path, REFUSE if strict else REPAIR)
    form = found.name if (found := recognise(path)) else "folder of files"
    if as_json:
        print(json.dumps([recording_facts(recording, form) for recording in recordings], indent=1))
        return
    for recording in recordings[:most]:
        print("\n".join(_text(recording_facts(recording, form))))
    if len(recordings) > most:
        rest = [len(stream) for recording in recordings[most:] for stream in recording.streams.values()]
        rows = f", {min(rest)} to {max(rest)} rows a stream" if rest else ""
        print(f"... and {len(recordings) - most} more recordings{rows}; show them with --most {len(recordings)}")


def _text(facts: Facts) -> Iterator[str]:
    streams: list[Facts] = facts["streams"]
    yield f"{facts['name']} ({facts['format']}): {len(streams)} streams"
    if facts["static"]:
        yield "  facts: " + ", ".join(f"{name} {value:g}" for name, value in facts["static"].items())
    yield from _overlap(facts["overlap"], streams)
    yield from _table(streams)
    for stream in streams:
        yield from _channels(stream)
    if facts["frames"]:
        yield "  frames"
        yield from _tree(facts["frames"])
    for line in facts["repairs"]:
        yield f"  note: {line}"


def _overlap(shared: Facts | None, streams: list[Facts]) -> Iterator[str]:
    timed = [stream for stream in streams if stream["start"] is not None]
    if not timed:
        return
    start, end = min(stream["start"] for stream in timed), max(stream["end"] for stream in timed)
    yield f"  time: {(end - start) / 1e9:.3f} s from {_moment(start)}"
    if shared is None:
        return
    if shared["apart"]:
        yield f"  NO OVERLAP: {shared['apart'][0]!r} ends before {shared['apart'][1]!r} begins"
    elif sum(stream["rows"] > 1 for stream in streams) > 1:
        length = (shared["end"] - shared["start"]) / 1e9
        yield f"  all streams overlap for {length:.3f} s from {_moment(shared['start'])}"


def _table(streams: list[Facts]) -> Iterator[str]:
    width = max([6, *(len(stream["name"]) for stream in streams)])
    yield (
        f"  {'stream':<{width}} {'kind':<8} {'rows':>9} {'median Hz':>10} {'min Hz':>9} {'max Hz':>9} "
        f"{'longest s':>10} {'gaps':>6}  frame"
    )
    for stream in streams:
        rate, gaps = stream["rate"], stream["gaps"]
        cells = (rate["median"], rate["min"], rate["max"], gaps["longest"]) if rate else (None,) * 4
        a, b, c = (_rate(cell) for cell in cells[:3])
        d = "-" if cells[3] is None else f"{cells[3]:.4g}"
        above = gaps["above"] if gaps else "-"
        yield (
            f"  {stream['name']:<{width}} {stream['kind']:<8} {stream['rows']:>9} {a:>10} {b:>9} {c:>9} "
            f"{d:>10} {above:>6}  {stream['frame']}"
        ).rstrip()


def _rate(rate: float | None) -> str:
    """Write a rate in Hz; slow ones as one in so many seconds."""
    if rate is None:
        return "-"
    return f"{rate:.4g}" if rate >= SLOW else f"1/{1 / rate:.4g}"


def _channels(stream: Facts) -> Iterator[str]:
    if stream["kind"] == "pictures":
        size = stream["size"]
        what = f"{size[0]} x {size[1]} pixels" if isinstance(size, list) else str(size or "no pictures")
        yield f"  {stream['name']}: {what}{', intrinsics known' if stream['intrinsics'] else ''}"
        return
    extra = ", covariance known" if stream.get("covariance") else ""
    if stream.get("table_rows"):
        sizes = stream["table_rows"]
        extra = f", {sizes['min']} to {sizes['max']} rows a table (median {sizes['median']:g})"
    count = len(stream["channels"])
    yield f"  {stream['name']}: {count} channel{'s' if count > 1 else ''}{extra}"
    for channel in stream["channels"]:
        found = (
            "never measured" if channel["min"] is None else f"{channel['min'] + 0.0:.6g} .. {channel['max'] + 0.0:.6g}"
        )
        missing = f", {channel['missing']} missing" if channel["missing"] else ""
        if words := stream.get("labels", {}).get(channel["name"]):
            found = ", ".join(f"{word} {number}" for word, number in words.items())
        yield f"    {channel['name']:<14} {found} {channel['unit']}".rstrip() + missing


def _tree(edges: list[Facts]) -> Iterator[str]:
    below: dict[str, list[Facts]] = {}
    for edge in edges:
        below.setdefault(edge["parent"], []).append(edge)
    roots = [parent for parent in below if parent not in {edge["child"] for edge in edges}]

    def lines(name: str, depth: int) -> Iterator[str]:
        for edge in below.get(name, []):
            place = " ".join(f"{value + 0.0:.4g}" for value in edge["translation"])
            turn = " ".join(f"{value + 0.0:.4g}" for value in edge["quaternion"])
            yield f"    {'  ' * depth}{edge['child']}  at {place} m, turned {turn}"
            yield from lines(edge["child"], depth + 1)

    for root in roots:
        yield f"    {root}"
        yield from lines(root, 1)


def _moment(stamp: int) -> str:
    if abs(stamp) < DATED:
        return f"{stamp / 1e9:.3f} s"
    date: Any = datetime.fromtimestamp(stamp // 10**9, UTC)
    return f"{date:%Y-%m-%d %H:%M:%S}.{stamp % 10**9 // 10**6:03d} UTC"
