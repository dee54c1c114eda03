"""What `mambats data info` says of a recording, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Stamps, Stream

Facts = dict[str, Any]
GAP = 3  # periods: jitter and one lost row stay below


def recording_facts(recording: Recording, form: str) -> Facts:
    """Describe a recording.

    Args:
        recording: What to describe.
        form: Name of the format it was read from.

    Returns:
        Plain values that JSON can hold. Times in seconds, stamps in nanoseconds, rates in Hz.
    """
    streams = [
        *(_rows(name, stream, "rows") for name, stream in recording.streams.items()),
        *(_tables(name, stream) for name, stream in recording.ragged.items()),
        *(_pictures(name, stream) for name, stream in recording.images.items()),
        *(_rows(name, stream, "truth") for name, stream in recording.truth.items()),
    ]
    return {
        "name": recording.name,
        "format": form,
        "static": {name: float(value) for name, value in recording.static.items()},
        "streams": streams,
        "overlap": overlap(streams),
        "frames": _frames(recording.frames),
        "repairs": list(recording.repairs),
    }


def clock_facts(stamps: Stamps) -> Facts:
    """Describe a clock: first and last stamp [ns], rates [Hz] and gaps [s]; None where there are too few rows."""
    if not len(stamps):
        return {"start": None, "end": None, "rate": None, "gaps": None}
    facts: Facts = {"start": int(stamps[0]), "end": int(stamps[-1]), "rate": None, "gaps": None}
    if len(stamps) > 1:
        steps = np.diff(stamps)
        period, longest = float(np.median(steps)), int(steps.argmax())
        facts["rate"] = {"median": 1e9 / period, "min": 1e9 / float(steps.max()), "max": 1e9 / float(steps.min())}
        above = int((steps > GAP * period).sum())
        facts["gaps"] = {"longest": float(steps[longest]) / 1e9, "after": int(stamps[longest]), "above": above}
    return facts


def overlap(streams: list[Facts]) -> Facts | None:
    """Return the time that all streams share, in ns; where there is none, `apart` names the two that part it.

    Streams of one row (a sample, the class of a series) have no span and do not count; None where no other is left.
    """
    timed = [stream for stream in streams if stream["rows"] > 1]
    if not timed:
        return None
    last, first = max(timed, key=lambda stream: stream["start"]), min(timed, key=lambda stream: stream["end"])
    apart = None if last["start"] <= first["end"] else [first["name"], last["name"]]
    return {"start": last["start"], "end": first["end"], "apart": apart}


def _rows(name: str, stream: Stream, kind: str) -> Facts:
    return {
        **_about(name, kind, stream.stamps, stream.frame),
        "covariance": stream.covariance is not None,
        "channels": _ranges(stream, stream.values, stream.observed),
    }


def _tables(name: str, stream: RaggedStream) -> Facts:
    sizes = np.diff(stream.splits)
    size = {"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())} if len(sizes) else None
    return {
        **_about(name, "tables", stream.stamps, stream.frame),
        "table_rows": size,
        "labels": {channel: _counts(stream, channel) for channel in stream.labels},
        "channels": _ranges(stream, stream.values, None),
    }


def _counts(stream: RaggedStream, channel: str) -> dict[str, int]:
    """Count the rows of each word of a channel of codes."""
    words, codes = stream.labels[channel], stream.values[:, stream.channels.index(channel)]
    counts = np.bincount(codes[np.isfinite(codes)].astype(np.int64), minlength=len(words))
    return {word: int(count) for word, count in zip(words, counts, strict=False) if count}


def _pictures(name: str, stream: ImageStream) -> Facts:
    size: list[int] | str | None = None
    if len(stream):
        try:
            size = list(stream.image(0).shape[1::-1])
        except (ValueError, ModuleNotFoundError) as error:
            size = str(error)
    return {
        **_about(name, "pictures", stream.stamps, stream.frame),
        "size": size,
        "intrinsics": None if stream.intrinsics is None else stream.intrinsics.tolist(),
        "channels": [],
    }


def _about(name: str, kind: str, stamps: Stamps, frame: str) -> Facts:
    return {"name": name, "kind": kind, "rows": len(stamps), "frame": frame, **clock_facts(stamps)}


def _ranges(
    stream: Stream | RaggedStream, values: npt.NDArray[np.floating[Any]], observed: npt.NDArray[np.bool_] | None
) -> list[Facts]:
    found: list[Facts] = []
    for column, (channel, unit) in enumerate(zip(stream.channels, stream.units, strict=True)):
        good = values[:, column]
        kept = np.isfinite(good) if observed is None else observed[:, column] & np.isfinite(good)
        good = good if kept.all() else good[kept]
        least, most = (float(good.min()), float(good.max())) if good.size else (None, None)
        missing = len(values) - good.size
        found.append({"name": channel, "unit": unit, "min": least, "max": most, "missing": missing})
    return found


def _frames(tree: FrameTree) -> list[Facts]:
    return [
        {
            "parent": edge.parent,
            "child": edge.child,
            "translation": list(edge.translation),
            "quaternion": list(edge.quaternion),
        }
        for edge in tree.edges
    ]
