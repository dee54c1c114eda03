"""Streams with clocks of their own, brought together by polars: the last value before a time, bins, one order.

A row at time t is made of rows at or before t. `linear`, and `match` towards later rows, are the exceptions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mambats.series import Recording, Stamps, Stream

if TYPE_CHECKING:
    import polars as pl

Rows = npt.NDArray[np.int64]
Side = Literal["last", "nearest", "next"]
_STRATEGY: dict[Side, Literal["backward", "nearest", "forward"]] = {
    "last": "backward",
    "nearest": "nearest",
    "next": "forward",
}


@dataclass(frozen=True)
class Match:
    """Which row of another clock belongs to each time.

    Args:
        rows: Row numbers, shape (T,); -1 where there is none.
        age: Time since that row in nanoseconds, shape (T,); negative for a later row, 0 where there is none.
    """

    rows: Rows
    age: Rows

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Where there is a row, shape (T,)."""
        return self.rows >= 0


def match(
    stamps: Stamps, others: Stamps, *, side: Side = "last", tolerance_ns: int | None = None, strict: bool = False
) -> Match:
    """Find for each of `stamps` a row among `others`; both rise.

    Args:
        stamps: Times to look from, int64 nanoseconds, shape (T,).
        others: Times to find, shape (S,).
        side: The last row at or before the time (causal), the nearest one, or the next at or after it.
        tolerance_ns: Farther rows do not count; None takes any.
        strict: Whether a row of the same time does not count.

    Returns:
        The rows and their ages.

    Raises:
        ValueError: If the tolerance is negative.
    """
    import polars as pl

    if tolerance_ns is not None and tolerance_ns < 0:
        raise ValueError(f"tolerance_ns is {tolerance_ns}: need 0 or more nanoseconds, or None for any.")
    left = pl.DataFrame({"at": stamps}).with_columns(pl.col("at").set_sorted())
    right = pl.DataFrame({"at": others, "row": np.arange(len(others), dtype=np.int64)})
    joined = left.join_asof(
        right.with_columns(pl.col("at").set_sorted()), on="at", strategy=_STRATEGY[side],
        tolerance=tolerance_ns, allow_exact_matches=not strict,
    )  # fmt: skip
    rows = joined["row"].fill_null(-1).to_numpy()
    if not len(others):
        return Match(rows, np.zeros_like(rows))
    age = stamps - others[rows]
    age[rows < 0] = 0
    return Match(rows, age)


def hold(stream: Stream, stamps: Stamps, *, tolerance_ns: int | None = None, side: Side = "last") -> Stream:
    """Give a stream on another clock: each time takes the row that `match` finds, and is unobserved where none is.

    Args:
        stream: What to take from.
        stamps: The clock to give it, shape (T,).
        tolerance_ns: As in `match`.
        side: As in `match`; only "last" is causal.

    Returns:
        A stream on `stamps` with a further channel `age`, seconds since the row that was taken (NaN without one).
    """
    found = match(stamps, stream.stamps, side=side, tolerance_ns=tolerance_ns)
    values = np.full_like(stream.values, np.nan, shape=(len(stamps), len(stream.channels) + 1))
    observed = np.zeros(values.shape, bool)
    there, rows = found.found, found.rows[found.found]
    values[there, :-1], values[there, -1] = stream.values[rows], found.age[there] * 1e-9
    observed[there] = True
    if stream.observed is not None:
        observed[there, :-1] = stream.observed[rows]
    values[~observed] = np.nan
    covariance = stream.covariance if stream.covariance is None or stream.covariance.ndim == 2 else None
    padded = None if covariance is None else np.pad(covariance, (0, 1))
    return replace(
        stream, stamps=stamps, values=values, channels=(*stream.channels, "age"),
        observed=None if observed.all() else observed, unit=(*stream.units, "s"), covariance=padded,
    )  # fmt: skip


def linear(stream: Stream, stamps: Stamps, *, longest_ns: int | None = None) -> Stream:
    """Give a stream on another clock by straight lines between neighbouring rows. Not causal: it reads the next row.

    Args:
        stream: What to take from; every value observed. Rotations need `mambats.preprocess`, not this.
        stamps: The clock to give it, shape (T,).
        longest_ns: Neighbours farther apart leave the time unobserved; None allows any.

    Returns:
        A stream on `stamps`, unobserved outside the stream's first and last row.

    Raises:
        ValueError: If a value is not observed, or the stream holds a quaternion.
    """
    if stream.observed is not None and not stream.observed.all():
        raise ValueError("linear needs every value observed: drop or fill the missing ones first, or use hold.")
    if {"qx", "qy", "qz", "qw"} & set(stream.channels):
        raise ValueError("the stream holds a quaternion, which a straight line leaves: interpolate poses instead.")
    before, after = match(stamps, stream.stamps), match(stamps, stream.stamps, side="next")
    there = before.found & after.found
    if longest_ns is not None:
        there &= before.age - after.age <= longest_ns
    left, right = before.rows[there], after.rows[there]
    span = before.age[there] - after.age[there]
    share = np.divide(before.age[there], span, out=np.zeros(len(span)), where=span > 0)[:, None]
    values = np.full_like(stream.values, np.nan, shape=(len(stamps), len(stream.channels)))
    values[there] = stream.values[left] * (1 - share) + stream.values[right] * share
    observed = np.repeat(there[:, None], len(stream.channels), 1)
    return replace(stream, stamps=stamps, values=values, observed=None if there.all() else observed, covariance=None)


def resample(stream: Stream, every_ns: int, *, how: Literal["mean", "median", "last", "sum"] = "mean") -> Stream:
    """Summarise a stream over bins: the row at time t speaks of (t - every, t]. Bins without rows are absent.

    Args:
        stream: What to summarise; values that are not observed are left out.
        every_ns: Width of a bin in nanoseconds; bins end at its multiples since 1970.
        how: What stands for a bin.

    Returns:
        A stream with at most one row a bin.

    Raises:
        ValueError: If the width is below 1.
    """
    import polars as pl

    if every_ns < 1:
        raise ValueError(f"every_ns is {every_ns}: need at least 1 nanosecond.")
    summed = getattr(pl.all().exclude("at").drop_nulls() if how == "last" else pl.all().exclude("at"), how)()
    lazy = _frame(stream).lazy().group_by_dynamic("at", every=f"{every_ns}i", closed="right", label="right")
    made = lazy.agg(summed).collect()
    if how == "sum":  # the sum of no values is 0 to polars
        counts = _frame(stream).lazy().group_by_dynamic("at", every=f"{every_ns}i", closed="right", label="right")
        there = counts.agg(pl.all().exclude("at").count()).collect().drop("at").to_numpy() > 0
    else:
        there = made.drop("at").select(pl.all().is_not_null()).to_numpy()
    values = np.full_like(stream.values, np.nan, shape=there.shape)
    values[there] = made.drop("at").to_numpy()[there]
    observed = None if there.all() else there
    return replace(stream, stamps=made["at"].to_numpy(), values=values, observed=observed, covariance=None)


def _frame(stream: Stream) -> pl.DataFrame:
    """Stamps as `at` and a column a channel; null where nothing was observed."""
    import polars as pl

    columns = {f"{k}": stream.values[:, k] for k in range(len(stream.channels))}
    frame = pl.DataFrame({"at": stream.stamps, **columns}).with_columns(pl.col("at").set_sorted())
    if stream.observed is None:
        return frame
    flags = [pl.Series(name, stream.observed[:, k]) for k, name in enumerate(columns)]
    return frame.with_columns(
        pl.when(flag).then(pl.col(name)).otherwise(None).alias(name) for name, flag in zip(columns, flags, strict=True)
    )


@dataclass(frozen=True)
class Events:
    """All rows of several streams in one order: by stamp, and at the same stamp in the order of `names`.

    Args:
        names: Streams, in order.
        stamps: Times, shape (E,), never falling.
        stream: Which stream each row is of, shape (E,).
        rows: Its row in that stream, shape (E,).
    """

    names: tuple[str, ...]
    stamps: Stamps
    stream: npt.NDArray[np.uint8]
    rows: Rows


def merge(recording: Recording, names: tuple[str, ...] | None = None) -> Events:
    """Put the rows of streams (also ragged ones and pictures) into one order.

    Args:
        recording: Whose streams.
        names: Which, in their order at equal stamps; None takes all.

    Raises:
        ValueError: If a name is not there.
    """
    import polars as pl

    clocks = {**recording.streams, **recording.ragged, **recording.images}
    names = tuple(clocks) if names is None else names
    needs_streams(recording, names)
    frames = [
        pl.DataFrame({"at": clocks[name].stamps, "row": np.arange(len(clocks[name]), dtype=np.int64)}).with_columns(
            pl.lit(k, pl.UInt8).alias("stream")
        )
        for k, name in enumerate(names)
    ]
    if not frames:
        return Events((), np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int64))
    merged = pl.concat(frames).sort("at", maintain_order=True)
    return Events(names, merged["at"].to_numpy(), merged["stream"].to_numpy(), merged["row"].to_numpy())


def needs_streams(recording: Recording, names: tuple[str, ...]) -> None:
    """Refuse names that a recording lacks.

    Raises:
        ValueError: Names what is missing and what there is.
    """
    there = [*recording.streams, *recording.ragged, *recording.images]
    if missing := [name for name in names if name not in there]:
        raise ValueError(
            f"recording {recording.name!r} has no stream {', '.join(map(repr, missing))}, it has {', '.join(there)}: "
            "name one of these, or leave it out of the recipe."
        )


def overlap(recording: Recording, names: tuple[str, ...]) -> tuple[int, int]:
    """Give the first and last stamp at which all streams run.

    Raises:
        ValueError: If a stream is missing or empty, or they do not overlap; names whose ends exclude each other.
    """
    needs_streams(recording, names)
    clocks = {**recording.streams, **recording.ragged, **recording.images}
    if empty := [name for name in names if not len(clocks[name])]:
        raise ValueError(f"recording {recording.name!r}: {', '.join(empty)} has no rows: leave it out.")
    late = max(names, key=lambda name: int(clocks[name].stamps[0]))
    early = min(names, key=lambda name: int(clocks[name].stamps[-1]))
    start, end = int(clocks[late].stamps[0]), int(clocks[early].stamps[-1])
    if start > end:
        raise ValueError(
            f"recording {recording.name!r}: {early!r} ends at {end} ns, {late!r} begins at {start} ns, "
            f"{(start - end) * 1e-9:.3f} s later: no overlap. Is one clock in another epoch? See `mambats data info`."
        )
    return start, end
