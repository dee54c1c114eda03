"""Labelled series for detectors: training windows out of the probation, whole series to test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor

from mambats.anomaly.metrics import probation_rows
from mambats.anomaly.rows import Rows
from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import Recording, Stamps

Item = TypeVar("Item")


@dataclass(frozen=True)
class LabelledSeries:
    """One whole series.

    Args:
        name: Of the series.
        rows: Scaled on the probation, batch of one: values (1, T, C).
        labels: Anomalous rows, shape (T,) bool; all False where nothing is known of them.
        begin: First row that is scored.
        stamps: Times, shape (T,) int64 nanoseconds.
        period_ns: Median step, nanoseconds.
        location: Mean of the probation in the data's units, shape (C,).
        scale: Its deviation, shape (C,).
        labelled: Whether the labels are known.
    """

    name: str
    rows: Rows
    labels: Tensor
    begin: int
    stamps: Stamps
    period_ns: int
    location: Tensor
    scale: Tensor
    labelled: bool = True

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same series with its rows on another device (Lightning calls this)."""
        moved = (None if v is None else v.to(device, non_blocking=non_blocking) for v in self.rows)
        return replace(self, rows=Rows(*moved))  # pyright: ignore[reportArgumentType]


class SeriesDataModule(lightning.LightningDataModule):
    """Train on the probation of every series, without labels; test on the whole, scored after the probation.

    The probation is the first 15 % of a series, at most 750 rows, as the Numenta benchmark has it; its last fifth
    validates. Each series is scaled by mean and deviation of its own probation and has its own clock.

    Args:
        source: Recordings with stream `target` and, to test, truth `anomaly` (1 in anomalous rows).
        lookback: Rows of a training window.
        batch_size: Windows of a training step, from all series.
        steps: Training steps an epoch.

    Raises:
        DataError: From `setup`, if a recording has no such stream or too few rows, or no truth to test against.
    """

    series: list[LabelledSeries]

    def __init__(self, source: Source, lookback: int = 192, batch_size: int = 16, steps: int = 50) -> None:
        super().__init__()
        if min(lookback, batch_size, steps) < 1:
            raise DataError(f"lookback {lookback}, batch_size {batch_size}, steps {steps}: all must be at least 1.")
        self.source, self.lookback, self.batch_size, self.steps = source, lookback, batch_size, steps
        self.series = []

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return str(getattr(self.source, "name", type(self.source).__name__))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self._channels

    def setup(self, stage: str | None = None) -> None:
        """Read the recordings, once for all stages; only a test asks for labels."""
        if not self.series:
            self._read()
        if stage == "test" and (bare := [each.name for each in self.series if not each.labelled]):
            raise DataError(
                f"{self.name}: {', '.join(bare)} has no truth 'anomaly', so nothing can be tested: give labels, or "
                "score it with `mambats predict`."
            )

    def _read(self) -> None:
        recordings = self.source.recordings()
        self.series = [to_series(recording) for recording in recordings]
        self._channels = recordings[0].streams["target"].channels
        short = [each.name for each in self.series if each.begin - each.begin // 5 < self.lookback]
        if short:
            raise DataError(
                f"{self.name}: the probation of {', '.join(short)} is shorter than a window of {self.lookback} rows: "
                "take a shorter lookback, or leave it out."
            )

    def train_dataloader(self) -> Crops:
        """Yield random windows from the first four fifths of every probation."""
        return Crops([each.rows.part(0, each.begin - each.begin // 5) for each in self.series], self)

    def val_dataloader(self) -> InOrder[Rows]:
        """Yield one window for each series: the end of its probation."""
        return InOrder([each.rows.part(max(0, each.begin - self.lookback), each.begin) for each in self.series])

    def test_dataloader(self) -> InOrder[LabelledSeries]:
        """Yield every series whole."""
        return InOrder(self.series)

    predict_dataloader = test_dataloader


class InOrder(Generic[Item]):
    """Batches as they are; Lightning takes a plain list for many loaders."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        """Yield them."""
        return iter(self.items)


class Crops:
    """Batches of windows that begin anywhere, a new draw each epoch from torch's own generator (seeded by the run)."""

    def __init__(self, rows: list[Rows], data: SeriesDataModule) -> None:
        self.rows, self.data = rows, data

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return self.data.steps

    def __iter__(self) -> Iterator[Rows]:
        """Yield batches (B, L, C)."""
        for _ in range(self.data.steps):
            picked = torch.randint(len(self.rows), (self.data.batch_size,)).tolist()
            crops = [self._crop(self.rows[index]) for index in picked]
            yield Rows(*(torch.cat(each) for each in zip(*crops, strict=True)))  # pyright: ignore[reportArgumentType]

    def _crop(self, rows: Rows) -> Rows:
        start = int(torch.randint(rows.values.shape[1] - self.data.lookback + 1, ()))
        part = rows.part(start, start + self.data.lookback)
        gaps = torch.ones_like(part.values[..., 0]) if part.gaps is None else part.gaps.clone()
        gaps[:, 0] = 1.0  # a fresh state's first gap
        return Rows(part.values, gaps, part.seen)


def to_series(recording: Recording) -> LabelledSeries:
    """Return a recording as rows for a detector.

    Raises:
        DataError: If stream `target` is missing, truth `anomaly` has another clock, or the probation is empty.
    """
    stream, truth = recording.streams.get("target"), recording.truth.get("anomaly")
    if stream is None or (truth is not None and not np.array_equal(stream.stamps, truth.stamps)):
        raise DataError(
            f"{recording.name}: needed a stream 'target' (and truth 'anomaly' with the same stamps); it has streams "
            f"{sorted(recording.streams)} and truth {sorted(recording.truth)}."
        )
    begin = probation_rows(len(stream))
    observed = np.isfinite(stream.values) if stream.observed is None else stream.observed & np.isfinite(stream.values)
    if begin < 2 or not observed[:begin].any(0).all():
        raise DataError(
            f"{recording.name}: its probation of {begin} rows holds no value of some channel: leave it out."
        )
    values = np.where(observed, stream.values, np.nan)
    location, scale = np.nanmean(values[:begin], 0), np.nanstd(values[:begin], 0)
    scale = np.where(scale > 1e-8 * np.maximum(1, np.abs(location)), scale, 1.0)
    steps = np.diff(stream.stamps, prepend=stream.stamps[:1])
    period = max(int(np.median(steps[1:])), 1)
    gaps = np.concatenate([[1.0], steps[1:] / period])
    scaled = np.nan_to_num((values - location) / scale)
    rows = Rows(
        torch.from_numpy(scaled).float()[None],
        torch.from_numpy(gaps).float()[None],
        torch.from_numpy(observed)[None],
    )
    labels = torch.from_numpy(np.zeros(len(stream), dtype=bool) if truth is None else truth.values[:, 0] > 0.5)
    spans = torch.from_numpy(location).double(), torch.from_numpy(scale).double()
    return LabelledSeries(recording.name, rows, labels, begin, stream.stamps, period, *spans, truth is not None)
