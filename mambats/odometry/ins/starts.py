"""The Lightning data modules of drives and flights: recordings in, numbers of the rows at which windows start out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mambats.data.split import Fractions
from mambats.formats.error import DataError
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.flight import Flight
from mambats.protocols import Source
from mambats.series import Recording

P = TypeVar("P", Drive, Flight)


class Starts(NamedTuple):
    """Windows of one recording: its number, and the rows (B,) int64 at which they start."""

    recording: int
    rows: Tensor


class StartsDataModule(L.LightningDataModule, ABC, Generic[P]):
    """Split each recording along its time, and say where windows start; the task cuts them.

    Rows are those by which a part counts: fixes of a drive, samples of a flight. How long windows are is the task's
    (`lay_out`); they end within their split. Batches of training are drawn anew each time; one process trains.

    Args:
        source: Where the recordings come from.
        settle: Seconds at the start of each recording in which no training window starts: filters find themselves.
        every: Seconds between two training starts; validation and test have one each second.
        batch_size: Windows of a training step.
        steps: Training batches of an epoch.
        split: Shares of training and test; validation is between them.
        seed: Key of the draws.

    After `setup`: `parts`, `names`, `fingerprint`, `period_ns`.

    Raises:
        DataError: If a number is not positive; from `lay_out`, if a split would hold no window.
    """

    channels = ("wx", "wy", "wz", "ax", "ay", "az")

    def __init__(
        self,
        source: Source,
        settle: float = 20.0,
        every: float = 1.0,
        batch_size: int = 24,
        steps: int = 4,
        split: Fractions | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (every > 0 and settle >= 0 and min(batch_size, steps) > 0):
            raise DataError(
                f"every is {every} s, settle {settle} s, batch_size {batch_size}, steps {steps}: all must be positive."
            )
        self.source, self.settle, self.every = source, settle, every
        self.batch_size, self.steps, self.split, self.seed = batch_size, steps, split, seed
        self.parts, self.names, self.fingerprint, self.period_ns = list[P](), list[str](), "", 10_000_000
        self._reach = dict[str, float]()

    @abstractmethod
    def part(self, recording: Recording) -> P:
        """Return what a task works on."""

    @abstractmethod
    def length(self, part: P) -> int:
        """Return the rows of a part."""

    @abstractmethod
    def rate(self, part: P) -> float:
        """Return its rows a second."""

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return str(getattr(self.source, "name", None) or type(self.source).__name__)

    def setup(self, stage: str | None = None) -> None:
        """Read the recordings, once for all stages."""
        if self.parts:
            return
        recordings = self.source.recordings()
        self.fingerprint = _fingerprint(recordings)
        self.period_ns = int(np.median(np.diff(recordings[0].streams["imu"].stamps)))
        self.parts, self.names = [self.part(one) for one in recordings], [one.name for one in recordings]

    def lay_out(self, train: float, val: float) -> None:
        """Say how many seconds windows take from their start, in training and in validation.

        Raises:
            DataError: If a recording has no window for one of them.
        """
        self._reach = {"train": train, "val": val}
        for number, name in enumerate(self.names):
            if empty := [split for split, reach in self._reach.items() if not len(self.starts(split, number, reach))]:
                part = self.parts[number]
                raise DataError(
                    f"recording {name!r} of {self.length(part) / self.rate(part):.0f} s has no window for "
                    f"{' and '.join(empty)}: they take {train:g} and {val:g} s, the first {self.settle:g} s are left "
                    "out. Shorten them, or give other shares."
                )

    def borders(self, number: int) -> tuple[int, int, int]:
        """Return the rows after the last of training, validation and test."""
        return (self.split or Fractions(0.35, 0.5)).borders(np.arange(self.length(self.parts[number])))

    def starts(self, split: str, number: int, reach: float) -> Tensor:
        """Return the starts of windows in `train`, `val` or `test` of a recording, rising, shape (W,).

        Args:
            split: Which.
            number: Of the recording.
            reach: Seconds that a window takes.
        """
        rate, ends = self.rate(self.parts[number]), self.borders(number)
        begins = {"train": round(self.settle * rate), "val": ends[0], "test": ends[1]}
        end = dict(zip(begins, ends, strict=True))[split]
        last = end - 1 - round(reach * rate)
        step = max(1, round((self.every if split == "train" else 1.0) * rate))
        return torch.arange(begins[split], max(begins[split], last + 1), step)

    def train_dataloader(self) -> DataLoader[Starts]:
        """Yield `steps` batches, recordings in turn."""
        pools = [self.starts("train", n, self._reach["train"]) for n in range(len(self.parts))]
        return DataLoader(_Draws(pools, self.steps, self.batch_size, self.seed), batch_size=None)

    def val_dataloader(self) -> DataLoader[Starts]:
        """Yield all validation windows of each recording as one batch."""
        return self._whole([self.starts("val", n, self._reach["val"]) for n in range(len(self.parts))])

    def test_dataloader(self) -> DataLoader[Starts]:
        """Yield each recording once; the report asks for the windows of each length."""
        return self._whole([self.starts("test", n, 1.0) for n in range(len(self.parts))])

    def _whole(self, pools: list[Tensor]) -> DataLoader[Starts]:
        batches: Any = [Starts(number, pool) for number, pool in enumerate(pools)]
        return DataLoader(batches, batch_size=None)


class OutageData(StartsDataModule[Drive]):
    """Drives with satellite fixes; rows are fixes."""

    def part(self, recording: Recording) -> Drive:
        """Return a drive."""
        return Drive.of(recording)

    def length(self, part: Drive) -> int:
        """Return the number of fixes."""
        return len(part.fixes)

    def rate(self, part: Drive) -> float:
        """Return fixes a second."""
        return 1e9 / float(part.fix_clock.diff().double().median())


class FlightData(StartsDataModule[Flight]):
    """Flights with true poses; rows are samples of the inertial unit."""

    def part(self, recording: Recording) -> Flight:
        """Return a flight."""
        return Flight.of(recording)

    def length(self, part: Flight) -> int:
        """Return the number of samples."""
        return len(part.dt)

    def rate(self, part: Flight) -> float:
        """Return samples a second."""
        return part.rate


class _Draws(Dataset[Starts]):
    """Batches drawn without repetition inside each, recordings in turn."""

    def __init__(self, pools: list[Tensor], steps: int, batch: int, seed: int) -> None:
        self.pools, self.steps, self.batch = pools, steps, batch
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Starts:
        number = step % len(self.pools)
        order = torch.randperm(len(self.pools[number]), generator=self.generator)
        return Starts(number, self.pools[number][order[: self.batch]])


def _fingerprint(recordings: Sequence[Recording]) -> str:
    """Sha256 of all streams."""
    digest = hashlib.sha256()
    for recording in recordings:
        for name in sorted(recording.streams):
            stream = recording.streams[name]
            digest.update(np.ascontiguousarray(stream.stamps).tobytes())
            digest.update(np.ascontiguousarray(stream.values).tobytes())
    return digest.hexdigest()
