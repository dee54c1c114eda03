"""Windows over several streams at once: two searches a stream, then one gather a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from mambats.data.align import needs_streams, overlap
from mambats.series import RaggedStream, Recording, SensorRows, SensorWindow, Stamps, Stream

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where windows lie: recording (n,), and begin and end (n,) as shares of the time that its windows cover."""

    recording: Numbers
    begin: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Cut:
    """First row and number of rows of each window in one stream of one recording."""

    first: Numbers
    count: Numbers

    @classmethod
    def of(cls, stamps: Stamps, starts: Numbers, length_ns: int) -> _Cut:
        """Rows with start < time <= start + length."""
        first = np.searchsorted(stamps, starts, side="right")
        return cls(first, np.searchsorted(stamps, starts + length_ns, side="right") - first)


class SensorWindows(Dataset[SensorWindow]):
    """Windows of one length over recordings with the same streams; memory does not grow with rows, which may be mapped.

    A window holds the rows with start < time <= start + length, of each stream as many as there are. Windows begin
    where the streams of a recording first run together, and follow every `stride_ns`.

    Args:
        recordings: What to cut; all have the named streams with the same channels.
        streams: Names of plain or ragged streams.
        length_ns: Of a window, nanoseconds.
        stride_ns: Between the starts of two windows; None takes `length_ns`.
        period_ns: Reference period of gaps, nanoseconds.
        truth: Names of ground truth streams to cut along.
        most_points: Rows of a table of a ragged stream that are kept, from its beginning.

    Raises:
        ValueError: If a stream is missing, channels differ, streams do not overlap, or no window fits.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        streams: tuple[str, ...],
        length_ns: int,
        *,
        stride_ns: int | None = None,
        period_ns: int = 10_000_000,
        truth: tuple[str, ...] = (),
        most_points: int = 4096,
    ) -> None:
        if min(length_ns, length_ns if stride_ns is None else stride_ns, period_ns, most_points) < 1:
            raise ValueError(
                f"length_ns is {length_ns}, stride_ns {stride_ns}, period_ns {period_ns}, most_points {most_points}: "
                "need at least 1 each."
            )
        self.recordings, self.streams, self.truth = list(recordings), streams, truth
        self.length_ns, self.period_ns, self.most_points = length_ns, period_ns, most_points
        self._check()
        starts = [self._starts(r, stride_ns or length_ns) for r in self.recordings]
        self._starts_of = starts
        self._ends = np.cumsum([len(s) for s in starts], dtype=np.int64)
        if not len(self):
            raise ValueError(
                f"no window of {length_ns} ns fits into {len(self.recordings)} recordings: take a shorter length."
            )
        self._cuts = {
            name: [_Cut.of(_clock(r, name), s, length_ns) for r, s in zip(self.recordings, starts, strict=True)]
            for name in (*streams, *truth)
        }

    def _check(self) -> None:
        for recording in self.recordings:
            needs_streams(recording, self.streams)
            if lost := [name for name in self.truth if name not in recording.truth]:
                raise ValueError(
                    f"recording {recording.name!r} has no ground truth {lost}, it has {sorted(recording.truth)}."
                )
            if images := [name for name in self.streams if name in recording.images]:
                raise ValueError(f"{images} are pictures: cut windows of plain and ragged streams, see ImageStream.")
            for name in (*self.streams, *self.truth):
                first, here = _find(self.recordings[0], name), _find(recording, name)
                if first.channels != here.channels:
                    raise ValueError(
                        f"stream {name!r} has channels {here.channels} in {recording.name!r} and {first.channels} in "
                        f"{self.recordings[0].name!r}: need the same."
                    )

    def _starts(self, recording: Recording, stride_ns: int) -> Numbers:
        start, end = overlap(recording, self.streams)
        # Half open at the start: one nanosecond earlier, the first row is in.
        return np.arange(start - 1, end - self.length_ns + 1, stride_ns, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> SensorWindow:
        """Return one window as a batch of one."""
        return self.batch([range(len(self))[number]])

    def __getitems__(self, numbers: list[int]) -> SensorWindow:
        """Return a batch (a data loader without collation calls this)."""
        return self.batch(numbers)

    def places(self) -> Places:
        """Return where each window lies, for a split."""
        parts = [(np.full(len(s), r), *self._shares(s)) for r, s in enumerate(self._starts_of)]
        recording, begin, end = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Places(recording.astype(np.int64), begin, end)

    def _shares(self, starts: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if not len(starts):
            return np.empty(0), np.empty(0)
        covered = starts[-1] + self.length_ns - starts[0]
        begin = (starts - starts[0]) / covered
        return begin, begin + self.length_ns / covered

    def batch(self, numbers: Sequence[int]) -> SensorWindow:
        """Gather windows by number."""
        asked = np.asarray(numbers, dtype=np.int64)
        which = np.searchsorted(self._ends, asked, side="right")
        inside = asked - np.where(which > 0, self._ends[which - 1], 0)
        starts = np.array([self._starts_of[r][k] for r, k in zip(which, inside, strict=True)], dtype=np.int64)
        cut = {name: self._rows(name, which, inside, starts) for name in (*self.streams, *self.truth)}
        return SensorWindow(
            {name: cut[name] for name in self.streams}, torch.from_numpy(starts), self.length_ns,
            torch.from_numpy(which), {name: cut[name] for name in self.truth},
        )  # fmt: skip

    def _rows(self, name: str, which: Numbers, inside: Numbers, starts: Numbers) -> SensorRows:
        """The rows of one stream in every window of a batch."""
        cuts = self._cuts[name]
        first = np.array([cuts[r].first[k] for r, k in zip(which, inside, strict=True)], dtype=np.int64)
        count = np.array([cuts[r].count[k] for r, k in zip(which, inside, strict=True)], dtype=np.int64)
        longest = int(count.max(initial=0))
        mask = np.arange(longest) < count[:, None]
        places = first[:, None] + np.arange(longest)
        stamps = np.zeros(places.shape, np.int64)
        parts = list[tuple[npt.NDArray[np.bool_], Numbers, Stream | RaggedStream]]()
        for r in np.unique(which):
            mine, stream = which == r, _find(self.recordings[r], name)
            at = np.minimum(places[mine], max(len(stream) - 1, 0))
            if len(stream):
                stamps[mine] = stream.stamps[at] - starts[mine, None]
            parts.append((mine, at, stream))
        stamps[~mask] = 0
        gaps = np.ones(places.shape, np.float32)
        gaps[:, 1:] = np.diff(stamps, axis=1) / self.period_ns
        gaps[~mask] = 0
        made = _tables(parts, mask, self.most_points) if isinstance(parts[0][2], RaggedStream) else _values(parts, mask)
        return SensorRows(made[0], torch.from_numpy(mask), torch.from_numpy(gaps), torch.from_numpy(stamps), *made[1:])


Parts = list[tuple[npt.NDArray[np.bool_], Numbers, Stream | RaggedStream]]


def _values(parts: Parts, mask: npt.NDArray[np.bool_]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Values (B, T, C) float32 and flags."""
    width = len(parts[0][2].channels)
    values = np.zeros((*mask.shape, width), np.float32)
    observed = np.ones(values.shape, bool) if any(_flags(s) is not None for *_, s in parts) else None
    for mine, at, stream in parts:
        if not len(stream):
            continue
        values[mine] = stream.values[at]
        if observed is not None and (flags := _flags(stream)) is not None:
            observed[mine] = flags[at]
    values[~mask] = 0
    if observed is None:
        return torch.from_numpy(values), None
    observed &= mask[..., None]
    values[~observed] = 0
    return torch.from_numpy(values), torch.from_numpy(observed)


def _tables(
    parts: Parts, mask: npt.NDArray[np.bool_], most: int
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Tables (B, T, P, C) float32 padded behind, flags of rows that exist, and their number."""
    counts = np.zeros(mask.shape, np.int64)
    for mine, at, stream in parts:
        if isinstance(stream, RaggedStream) and len(stream):
            counts[mine] = np.minimum(stream.splits[at + 1] - stream.splits[at], most)
    counts[~mask] = 0
    points = int(counts.max(initial=0))
    values = np.zeros((*mask.shape, points, len(parts[0][2].channels)), np.float32)
    there = np.arange(points) < counts[..., None]
    for mine, at, stream in parts:
        if isinstance(stream, RaggedStream) and len(stream.values):
            rows = stream.splits[at][..., None] + np.arange(points)
            values[mine] = stream.values[np.minimum(rows, len(stream.values) - 1)]
    values[~there] = 0
    return torch.from_numpy(values), None, torch.from_numpy(counts)


def _flags(stream: Stream | RaggedStream) -> npt.NDArray[np.bool_] | None:
    return stream.observed if isinstance(stream, Stream) else None


def _find(recording: Recording, name: str) -> Stream | RaggedStream:
    found = recording.streams.get(name) or recording.ragged.get(name)
    return recording.truth[name] if found is None else found


def _clock(recording: Recording, name: str) -> Stamps:
    return _find(recording, name).stamps
