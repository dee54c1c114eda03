"""What readers do with faults: refused by default, repaired where the policy says so, and always reported.

A reader reports each kind of repair as one line of `Recording.repairs`: what, how many rows, and where the first is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.series import Flags, Stamps

Choice = Literal["refuse", "repair"]
Array = npt.NDArray[np.float64]

UNIT = 1e-3  # how far from 1 a quaternion's length may be: four printed digits
MENDABLE = 0.1  # further from 1 than this it is no rounded quaternion but another quantity


@dataclass(frozen=True)
class Policy:
    """Which faults a reader may repair. Values that are not finite are marked unobserved and reported by any policy.

    Args:
        clock: Of stamps that do not rise: `refuse` them, or `repair`: of equal ones keep the first, and drop rows whose
            stamp is behind one that was read before.
        quaternions: Of lengths other than 1: `refuse` them, or `repair`: normalise those within 10 %, mark the others
            unobserved.
        torn: Of a last row that is cut off: `refuse` it, or `repair`: leave it out. A cut within the last number of a
            text file cannot be seen.
        units: `refuse` values that are seen to have another unit (g, deg/s) or quaternions in another order, or `trust`
            that they are right.
        most: Largest share of rows that a repair may drop; above it the clock is refused whatever `clock` says (one
            stamp far ahead would else drop all that follow).

    Raises:
        DataError: If a choice is not one of these.
    """

    clock: Choice = "refuse"
    quaternions: Choice = "refuse"
    torn: Choice = "refuse"
    units: Literal["refuse", "trust"] = "refuse"
    most: float = 0.1

    def __post_init__(self) -> None:
        """Check the choices."""
        for name in ("clock", "quaternions", "torn"):
            if getattr(self, name) not in ("refuse", "repair"):
                raise DataError(f"{name} is {getattr(self, name)!r}: choose refuse or repair.")
        if self.units not in ("refuse", "trust"):
            raise DataError(f"units is {self.units!r}: choose refuse or trust.")
        if not 0 <= self.most <= 1:
            raise DataError(f"most is {self.most}, needed a share of rows from 0 to 1.")

    @classmethod
    def of(cls, faults: Choice) -> Policy:
        """Return the policy that refuses all faults, or repairs what can be repaired.

        Raises:
            DataError: If the word is another.
        """
        return cls(clock=faults, quaternions=faults, torn=faults)


#: Refuse every fault.
REFUSE = Policy()
#: Repair what can be repaired.
REPAIR = Policy.of("repair")


@dataclass(frozen=True)
class Place:
    """Where rows stand, for messages: `Place("imu0/data.csv", 2).at(0)` is `imu0/data.csv, line 2`.

    Args:
        name: File, and what else is needed to find the rows (topic, column).
        first: Number of the first row in `word`s, or the number of every row, shape (T,).
        word: What is counted: `line` of a text file, `row`, `message`, `byte`.
    """

    name: str
    first: int | npt.NDArray[np.int64] = 0
    word: str = "row"

    def at(self, row: int) -> str:
        """Name one row."""
        number = row + self.first if isinstance(self.first, int) else int(self.first[row])
        return f"{self.name}, {self.word} {number}"

    def keep(self, rows: npt.NDArray[np.int64]) -> Place:
        """Return the place of some of the rows."""
        return Place(self.name, self.first + rows if isinstance(self.first, int) else self.first[rows], self.word)


@dataclass(frozen=True)
class Settled:
    """What is left of rows after their clock was settled.

    Args:
        rows: Which rows to keep, shape (K,) int64, rising.
        repairs: What was done, for `Recording.repairs`; empty when all rows are kept.
    """

    rows: npt.NDArray[np.int64]
    repairs: tuple[str, ...] = ()


def settle_clock(stamps: Stamps, place: Place, policy: Policy = REFUSE) -> Settled:
    """Choose the rows whose clock rises.

    Args:
        stamps: Times of all rows as they stand in the file, int64 nanoseconds, shape (T,).
        place: Where they stand.
        policy: What to do where they do not rise.

    Returns:
        The rows to keep and the lines to report: `stamps[settled.rows]` rises.

    Raises:
        DataError: If they do not rise and the policy refuses that, or a repair would drop too many.

    Example:
        settled = settle_clock(stamps, Place("imu.csv", 2, "line"), REPAIR)
        stream = Stream(stamps[settled.rows], values[settled.rows], channels)
    """
    highest = np.maximum.accumulate(stamps)[:-1]
    equal, back = (np.flatnonzero(bad) + 1 for bad in (stamps[1:] == highest, stamps[1:] < highest))
    if not equal.size + back.size:
        return Settled(np.arange(len(stamps)))
    if policy.clock == "refuse":
        raise DataError(
            f"{_fault(stamps, equal, back, place)} Correct the file, or read it with Policy(clock='repair')."
        )
    if equal.size + back.size > policy.most * len(stamps):
        raise DataError(
            f"{_fault(stamps, equal, back, place)} A repair would drop {equal.size + back.size} of "
            f"{len(stamps)} rows, more than the share {policy.most:g} allowed: is a stamp far ahead, or are two "
            "recordings in one file? Part them, or allow more (`most`)."
        )
    dropped = np.union1d(equal, back)
    lines = (
        _line("with a stamp that was there before, dropped", equal, place),
        _line("with a clock that goes back, dropped", back, place),
    )
    return Settled(np.delete(np.arange(len(stamps)), dropped), tuple(line for line in lines if line))


def mark_missing(values: npt.NDArray[np.floating], place: Place) -> tuple[Flags | None, tuple[str, ...]]:
    """Tell which values were measured, and report bursts of others.

    Args:
        values: Shape (T, C); infinite ones become NaN in place, so give an array of your own.
        place: Where the rows stand.

    Returns:
        Flags (T, C), or None where all were measured; and the lines to report.
    """
    observed = np.isfinite(values)
    if observed.all():
        return None, ()
    values[~observed] = np.nan
    lost = np.any(~observed, axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost.view(np.int8), [0]))))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    first = place.at(int(starts[longest])).removeprefix(f"{place.name}, ")
    line = (
        f"{place.name}: {int(lost.sum())} of {len(lost)} rows with values that are not finite, marked unobserved, in "
        f"{len(starts)} bursts; the longest has {lengths[longest]} rows from {first}"
    )
    return observed, (line,)


def settle_quaternions(quaternions: Array, place: Place, policy: Policy = REFUSE) -> tuple[Array, tuple[str, ...]]:
    """Return quaternions of length 1, whatever their order; lengths within 0.001 of it are left as they stand.

    Args:
        quaternions: Shape (T, 4); rows with NaN are passed on.
        place: Where they stand.
        policy: What to do with other lengths.

    Returns:
        The quaternions, NaN where none could be told, and the lines to report.

    Raises:
        DataError: If lengths differ from 1 and the policy refuses that.
    """
    length = np.linalg.norm(quaternions, axis=1)
    off = np.flatnonzero(np.abs(length - 1) > UNIT)
    if not off.size:
        return quaternions, ()
    if policy.quaternions == "refuse":
        raise DataError(
            f"{place.at(int(off[0]))}: quaternion {quaternions[off[0]].tolist()} has length {length[off[0]]:.4f}, "
            f"needed 1 ({off.size} such rows). Right columns? Then read with Policy(quaternions='repair')."
        )
    lost = off[np.abs(length[off] - 1) > MENDABLE]
    near = np.setdiff1d(off, lost)
    mended = quaternions.copy()
    mended[near] /= length[near, None]
    mended[lost] = np.nan
    lines = (
        _line("with a quaternion not of length 1, normalised", near, place),
        _line("with a quaternion of length far from 1, marked unobserved", lost, place),
    )
    return mended, tuple(line for line in lines if line)


def _line(what: str, rows: npt.NDArray[np.int64], place: Place) -> str:
    first = place.at(int(rows[0])).removeprefix(f"{place.name}, ") if rows.size else ""
    return f"{place.name}: {rows.size} rows {what}, the first is {first}" if rows.size else ""


def _fault(stamps: Stamps, equal: npt.NDArray[np.int64], back: npt.NDArray[np.int64], place: Place) -> str:
    row = int(min([*equal[:1], *back[:1]]))
    what = "is the same as one before" if row in equal[:1] else "goes back"
    return (
        f"{place.at(row)}: the clock {what}: {stamps[row]} ns after {int(stamps[:row].max())} ns "
        f"({equal.size} rows with a stamp that was there before, {back.size} that go back)."
    )
