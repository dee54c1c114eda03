"""Many series on flat contiguous memory: the form that windows are cut from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.series import Flags, Recording, Stamps

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """Columns of one part, each contiguous in time.

    Args:
        names: One a column.
        values: float32, shape (C, rows) (for static facts (S, series)); NaN where not observed.
        observed: Which values were measured, shape of values, or None where all were.
    """

    names: tuple[str, ...]
    values: Float32
    observed: Flags | None = None

    def cut(self, rows: slice) -> Block:
        """Return the same columns over some rows, as views."""
        return Block(self.names, self.values[:, rows], None if self.observed is None else self.observed[:, rows])


@dataclass(frozen=True)
class Panel:
    """Series of unequal length one after the other, on memory or on a memory map.

    Args:
        name: Where the data came from.
        ids: Name of each series.
        stamps: Times in int64 nanoseconds, shape (rows,), rising inside a series.
        offsets: First row of each series, then the number of rows; shape (series + 1,).
        target: Columns to forecast.
        past: Covariates known up to now, or None.
        future: Covariates known in advance, or None.
        static: Facts of each series, values (S, series), or None.
    """

    name: str
    ids: tuple[str, ...]
    stamps: Stamps
    offsets: npt.NDArray[np.int64]
    target: Block
    past: Block | None = None
    future: Block | None = None
    static: Block | None = None

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.ids)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the target columns."""
        return self.target.names

    @property
    def values(self) -> Float32:
        """Target values, shape (C, rows), NaN where not observed."""
        return self.target.values

    @property
    def observed(self) -> Flags | None:
        """Which target values were measured, shape (C, rows), or None where all were."""
        return self.target.observed

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Rows of each series, shape (series,)."""
        return np.diff(self.offsets)

    @property
    def blocks(self) -> dict[str, Block]:
        """The parts that are there, by name."""
        parts = {"target": self.target, "past": self.past, "future": self.future, "static": self.static}
        return {part: block for part, block in parts.items() if block is not None}

    def rows(self, series: int) -> slice:
        """Return where a series lies in the flat arrays."""
        return slice(int(self.offsets[series]), int(self.offsets[series + 1]))

    def index(self, series: str) -> int:
        """Return the position of a series by its name.

        Raises:
            DataError: If there is no such series.
        """
        if series not in self.ids:
            known = ", ".join(self.ids[:5]) + (", ..." if len(self.ids) > 5 else "")
            raise DataError(f"{self.name}: there is no series {series!r}. Known are {known}.")
        return self.ids.index(series)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of names, times and values: what a run writes down to say which data it saw."""
        digest = hashlib.sha256(repr((self.ids, [(k, b.names) for k, b in self.blocks.items()])).encode())
        for array in (self.offsets, self.stamps, *(block.values for block in self.blocks.values())):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def build_panel(name: str, recordings: Sequence[Recording]) -> Panel:
    """Lay recordings one after the other.

    Args:
        name: Where they came from.
        recordings: With streams `target` and, all or none, `past` and `future` on the same stamps.

    Raises:
        DataError: If there are none, names repeat, or one has other columns or other stamps than the first.
    """
    if not recordings:
        raise DataError(f"{name}: the source gave no recordings. Give at least one series.")
    ids = tuple(recording.name for recording in recordings)
    seen: set[str] = set()
    for recording in recordings:
        if recording.name in seen:
            raise DataError(f"{name}: series {recording.name!r} comes twice. Give each series its own name.")
        seen.add(recording.name)
        _check_like_first(name, recording, recordings[0])
    offsets = np.concatenate([[0], np.cumsum([len(r.streams["target"]) for r in recordings])]).astype(np.int64)
    stamps = np.concatenate([np.asarray(r.streams["target"].stamps, dtype=np.int64) for r in recordings])
    blocks = {part: _block(recordings, part) for part in ("past", "future") if part in recordings[0].streams}
    return Panel(name, ids, stamps, offsets, _block(recordings, "target"), static=_static(recordings), **blocks)


def _check_like_first(name: str, recording: Recording, first: Recording) -> None:
    if "target" not in recording.streams:
        raise DataError(
            f"{name}: series {recording.name!r} has streams {', '.join(recording.streams) or '(none)'}, "
            "none called 'target'. Forecasting reads the stream 'target'."
        )
    if set(recording.streams) != set(first.streams) or list(recording.static) != list(first.static):
        raise DataError(
            f"{name}: series {recording.name!r} has streams {sorted(recording.streams)} and facts "
            f"{list(recording.static)}, series {first.name!r} has {sorted(first.streams)} and {list(first.static)}. "
            "All series need the same."
        )
    for part, stream in recording.streams.items():
        if stream.channels != first.streams[part].channels:
            raise DataError(
                f"{name}: the {part} columns of series {recording.name!r} are {stream.channels}, "
                f"of {first.name!r} {first.streams[part].channels}. All series need the same."
            )
        if not np.array_equal(stream.stamps, recording.streams["target"].stamps):
            raise DataError(f"{name}: streams 'target' and {part!r} of series {recording.name!r} differ in time.")


def _block(recordings: Sequence[Recording], part: str) -> Block:
    streams = [recording.streams[part] for recording in recordings]
    total = sum(len(stream) for stream in streams)
    values = np.empty((len(streams[0].channels), total), dtype=np.float32)
    done = 0
    for stream in streams:
        place = values[:, done : done + len(stream)]
        place[:] = stream.values.T
        if stream.observed is not None:
            place[~stream.observed.T] = np.nan
        done += len(stream)
    return block_of(streams[0].channels, values)


def block_of(names: tuple[str, ...], values: Float32) -> Block:
    """Wrap values (C, rows); whatever is not finite counts as not observed and becomes NaN."""
    observed = np.isfinite(values)
    if observed.all():
        return Block(names, values)
    values[~observed] = np.nan
    return Block(names, values, observed)


def _static(recordings: Sequence[Recording]) -> Block | None:
    names = tuple(recordings[0].static)
    if not names:
        return None
    return Block(names, np.array([[r.static[name] for r in recordings] for name in names], dtype=np.float32))
