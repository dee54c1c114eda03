"""Cases: whole labelled sequences of any length (a gesture, an engine's life, a spoken word), and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mambats.formats.error import DataError
from mambats.scale import Scaler
from mambats.series import Flags, Recording, Stamps, Stream

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One sequence with what is known about it, in the data's units.

    Args:
        name: Of the recording.
        stamps: Times in int64 nanoseconds, shape (T,).
        values: Shape (T, C), NaN where not observed.
        channels: Names of the C channels.
        target: Truth at each row, shape (T,), NaN where none is known; of a labelled case, at one row only.
    """

    name: str
    stamps: Stamps
    values: Float32
    channels: tuple[str, ...]
    target: Float32

    @classmethod
    def of(cls, recording: Recording, streams: Sequence[str] | None, truth: str) -> Self:
        """Take a recording's streams, which share one clock, as channels side by side.

        Args:
            recording: What to take.
            streams: Names of streams, or None for all.
            truth: Name of the ground truth; a recording may lack it.

        Raises:
            DataError: If a stream is missing, clocks differ, there is no row, or the truth has several channels.
        """
        name, chosen = recording.name, tuple(recording.streams if streams is None else streams)
        if missing := [each for each in chosen if each not in recording.streams]:
            raise DataError(f"{name} has no stream {missing}: its streams are {', '.join(recording.streams)}.")
        parts = [recording.streams[each] for each in chosen]
        if not parts or not len(parts[0]):
            raise DataError(f"{name} has no row in {chosen or 'any stream'}: leave it out.")
        stamps = parts[0].stamps
        if any(not np.array_equal(part.stamps, stamps) for part in parts):
            raise DataError(
                f"{name}: {chosen} have clocks of their own. Bring them onto one first: mambats.data.resample."
            )
        values = np.concatenate([_with_holes(part) for part in parts], axis=1)
        return cls(name, stamps, values, _channels(chosen, parts), _target(recording, truth, stamps))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stamps)


@dataclass(frozen=True)
class CaseBatch:
    """A batch of cases, padded behind to the longest; values are scaled.

    Args:
        values: Shape (B, T, C), 0 where not observed.
        target: Truth in its own unit at each row, shape (B, T), NaN where none is known.
        mask: Which rows exist, shape (B, T) bool, or None where all do.
        gaps: Time since the previous row in reference periods, shape (B, T), or None where all are 1.
        observed: Which values were measured, shape (B, T, C) bool, or None where all were.
        case: Number of each case in its split, shape (B,) int64.
    """

    values: Tensor
    target: Tensor
    mask: Tensor | None = None
    gaps: Tensor | None = None
    observed: Tensor | None = None
    case: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """Which rows exist, shape (B, T) bool."""
        return torch.ones_like(self.target, dtype=torch.bool) if self.mask is None else self.mask

    @property
    def last(self) -> Tensor:
        """Truth at the last row where it is known, shape (B,); NaN where it never is."""
        known = self.target.isfinite()
        place = torch.arange(self.target.shape[1], device=self.target.device)
        row = torch.where(known, place, -1).amax(1)
        return torch.where(row >= 0, self.target.gather(1, row.clamp_min(0)[:, None])[:, 0], torch.nan)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same batch on another device (Lightning calls this)."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def __len__(self) -> int:
        """Return the number of cases."""
        return self.values.shape[0]


class CaseSet(Dataset[CaseBatch]):
    """Cases of one split, gathered into batches by number.

    Args:
        cases: The cases, all of the same channels.
        scaler: Of the values.
        period_ns: Reference period of gaps in nanoseconds.
    """

    def __init__(self, cases: Sequence[Case], scaler: Scaler, period_ns: int) -> None:
        self.cases, self.scaler, self.period_ns = list(cases), scaler, period_ns
        self.scaled = [scaler.transform(torch.from_numpy(case.values)) for case in self.cases]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.cases)

    def __getitem__(self, numbers: npt.NDArray[np.int64]) -> CaseBatch:
        """Return the cases of these numbers as one batch; a row of which nothing was observed does not exist."""
        chosen = [self.cases[int(number)] for number in numbers]
        values = _padded([self.scaled[int(number)] for number in numbers], torch.nan)
        target = _padded([torch.from_numpy(case.target) for case in chosen], torch.nan)
        observed = values.isfinite()
        mask = observed.any(-1)
        whole = bool(observed[mask].all())
        gaps = _padded([torch.from_numpy(_gaps(case.stamps, self.period_ns)) for case in chosen], 1.0)
        return CaseBatch(
            values=torch.where(observed, values, 0),
            target=target,
            mask=None if bool(mask.all()) else mask,
            gaps=None if bool((gaps == 1).all()) else gaps,
            observed=None if whole else observed,
            case=torch.from_numpy(np.asarray(numbers, dtype=np.int64)),
        )


def fit_scaler(cases: Sequence[Case]) -> Scaler:
    """Return the scaler of the channels over all rows of cases."""
    rows = np.concatenate([case.values for case in cases]).T
    return Scaler.fit(rows, np.isfinite(rows), cases[0].channels)


def usual_period(cases: Sequence[Case]) -> int:
    """Return the median time between rows in nanoseconds; 1 s where no case has two rows."""
    steps = np.concatenate([np.diff(case.stamps) for case in cases])
    return int(np.median(steps)) if steps.size else 10**9


def fingerprint(cases: Sequence[Case]) -> str:
    """Return the sha256 of the cases' values and truth."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.name.encode() + case.values.tobytes() + case.target.tobytes())
    return digest.hexdigest()


def check_alike(cases: Sequence[Case], where: str) -> None:
    """Refuse no case at all, and cases of different channels.

    Raises:
        DataError: Naming the first case that differs.
    """
    if not cases:
        raise DataError(f"{where} gave no case: check its path and part.")
    first = cases[0]
    if other := next((case for case in cases if case.channels != first.channels), None):
        raise DataError(
            f"{where}: {other.name} has channels {', '.join(other.channels)}, {first.name} has "
            f"{', '.join(first.channels)}. Name the streams that all have (`streams`)."
        )


def _with_holes(stream: Stream) -> Float32:
    values = stream.values.astype(np.float32)
    return values if stream.observed is None else np.where(stream.observed, values, np.float32(np.nan))


def _channels(names: Sequence[str], parts: Sequence[Stream]) -> tuple[str, ...]:
    """Return channel names, with their stream's where two streams have the same."""
    plain = tuple(channel for part in parts for channel in part.channels)
    if len(set(plain)) == len(plain):
        return plain
    return tuple(f"{name}.{channel}" for name, part in zip(names, parts, strict=True) for channel in part.channels)


def _target(recording: Recording, truth: str, stamps: Stamps) -> Float32:
    target = np.full(len(stamps), np.nan, dtype=np.float32)
    if truth not in recording.truth:
        return target
    known = recording.truth[truth]
    if known.values.shape[1] != 1:
        raise DataError(f"{recording.name}: truth {truth!r} has channels {known.channels}, needed one number a row.")
    rows = np.searchsorted(stamps, known.stamps)
    there = (rows < len(stamps)) & (stamps[np.minimum(rows, len(stamps) - 1)] == known.stamps)
    seen = there if known.observed is None else there & known.observed[:, 0]
    target[rows[seen]] = known.values[seen, 0]
    return target


def _gaps(stamps: Stamps, period_ns: int) -> Float32:
    steps = np.diff(stamps, prepend=stamps[:1] - period_ns)
    return (steps / period_ns).astype(np.float32)


def _padded(parts: Sequence[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)


def known_flags(cases: Sequence[Case]) -> Flags:
    """Return which cases have any truth, shape (n,)."""
    return np.array([bool(np.isfinite(case.target).any()) for case in cases])
