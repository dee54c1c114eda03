"""The Lightning data module of several sensors: recordings in, windows over all their streams out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import lightning as L
import numpy as np
import numpy.typing as npt
import torch.distributed
from torch.utils.data import DataLoader

from mambats.data.sampler import Share, WindowSampler
from mambats.data.sensor_windows import SensorWindows
from mambats.data.split import SPLITS, Fractions
from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import Recording, SensorWindow

Numbers = npt.NDArray[np.int64]


class SensorDataModule(L.LightningDataModule):
    """Cut recordings into windows over several streams, and split them into training, validation and test.

    Three recordings or more are split whole, in their order, so that no drive is on two sides. One or two are split
    along their time, and windows that would reach over a border are left out.

    Args:
        source: Where the recordings come from.
        streams: Names of the streams that are inputs; every recording has them.
        length: Of a window, seconds.
        stride: Seconds between the starts of two windows; None for `length`.
        batch_size: Windows of one step over all processes together.
        truth: Names of the ground truth streams.
        split: Shares of training and test; validation gets the rest.
        seed: Key of the training order.

    After `setup`: `name`, `channels`, `period_ns`, `fingerprint`.

    Raises:
        DataError: If a number is not positive; from `setup`, if a split would hold no window.
        ValueError: From `setup`, if a stream or ground truth is missing.
    """

    period_ns = 10_000_000

    def __init__(
        self,
        source: Source,
        streams: Sequence[str],
        length: float,
        stride: float | None = None,
        batch_size: int = 16,
        truth: Sequence[str] = ("pose", "velocity"),
        split: Fractions | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (length > 0 and batch_size > 0 and (stride is None or stride > 0)):
            raise DataError(f"length {length} s, stride {stride} s, batch_size {batch_size}: all must be positive.")
        if not streams:
            raise DataError("streams is empty: name at least one stream of the recordings.")
        self.source, self.streams, self.length, self.stride = source, tuple(streams), length, stride
        self.batch_size, self.truth, self.split, self.seed = batch_size, tuple(truth), split, seed
        self._all: SensorWindows | None = None

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return str(getattr(self.source, "name", None) or type(self.source).__name__)

    @property
    def channels(self) -> tuple[str, ...]:
        """Columns of all streams, as stream.column."""
        recording = self._windows.recordings[0]
        return tuple(f"{name}.{column}" for name in self.streams for column in _columns(recording, name))

    @property
    def fingerprint(self) -> str:
        """sha256 of the stamps of all streams and the values of plain ones."""
        digest = hashlib.sha256()
        for recording in self._windows.recordings:
            for name in self.streams:
                stream = recording.streams.get(name) or recording.ragged[name]
                digest.update(np.ascontiguousarray(stream.stamps).tobytes())
                digest.update(np.ascontiguousarray(stream.values).tobytes())
        return digest.hexdigest()

    @property
    def length_ns(self) -> int:
        """Of a window."""
        return round(self.length * 1e9)

    def setup(self, stage: str | None = None) -> None:
        """Read the recordings and find the windows of each split, once for all stages."""
        if self._all is not None:
            return
        stride_ns = None if self.stride is None else round(self.stride * 1e9)
        recordings = self.source.recordings()
        windows = SensorWindows(
            recordings, self.streams, self.length_ns, stride_ns=stride_ns, period_ns=self.period_ns, truth=self.truth
        )
        self._numbers = _deal(windows, self.split or Fractions())
        self._all = windows
        if empty := [name for name, numbers in self._numbers.items() if not len(numbers)]:
            raise DataError(
                f"no window for {', '.join(empty)}: {len(windows)} windows of {self.length:g} s from {len(recordings)} "
                "recordings. Give more recordings, a shorter length or stride, or other shares."
            )

    def windows(self, split: str) -> SensorWindow:
        """Return all windows of `train`, `val` or `test` as one batch."""
        return self._windows.batch(self._of(split).tolist())

    def train_dataloader(self) -> DataLoader[SensorWindow]:
        """Yield training batches, in a new order each epoch."""
        count = len(self._of("train"))
        size = min(self.batch_size, max(1, count))
        return self._loader("train", WindowSampler(count, size, _share(), shuffle=True, seed=self.seed))

    def val_dataloader(self) -> DataLoader[SensorWindow]:
        """Yield validation batches, each window once, in order."""
        return self._loader("val", WindowSampler(len(self._of("val")), self.batch_size, _share()))

    def test_dataloader(self) -> DataLoader[SensorWindow]:
        """Yield test batches, each window once, in order."""
        return self._loader("test", WindowSampler(len(self._of("test")), self.batch_size, _share()))

    def _loader(self, split: str, sampler: WindowSampler) -> DataLoader[SensorWindow]:
        return DataLoader(_Part(self._windows, self._of(split)), batch_size=None, sampler=sampler)

    def _of(self, split: str) -> Numbers:
        if split not in SPLITS:
            raise DataError(f"split is {split!r}: choose one of {', '.join(SPLITS)}.")
        self.setup()
        return self._numbers[split]

    @property
    def _windows(self) -> SensorWindows:
        self.setup()
        if self._all is None:
            raise DataError("there are no windows: call setup first.")
        return self._all


class _Part(torch.utils.data.Dataset[SensorWindow]):
    """Some of the windows, gathered a batch at a time."""

    def __init__(self, windows: SensorWindows, numbers: Numbers) -> None:
        self.windows, self.numbers = windows, numbers

    def __getitem__(self, batch: Numbers) -> SensorWindow:
        return self.windows.batch(self.numbers[batch].tolist())


def _deal(windows: SensorWindows, split: Fractions) -> dict[str, Numbers]:
    """Numbers of the windows of each split."""
    everything = windows.places()
    count = len(windows.recordings)
    if count >= 3:
        train = max(1, int(count * split.train))
        test = count - max(1, int(count * split.test))
        bounds = {"train": (0, min(train, test - 1)), "val": (min(train, test - 1), test), "test": (test, count)}
        places = everything.recording
        return {name: np.flatnonzero((places >= a) & (places < b)) for name, (a, b) in bounds.items()}
    shares = {"train": (0.0, split.train), "val": (split.train, 1 - split.test), "test": (1 - split.test, 1.0)}
    slack = 1e-9
    return {
        name: np.flatnonzero((everything.begin >= a - slack) & (everything.end <= b + slack))
        for name, (a, b) in shares.items()
    }


def _columns(recording: Recording, name: str) -> tuple[str, ...]:
    stream = recording.streams.get(name) or recording.ragged[name]
    return tuple(stream.channels)


def _share() -> Share:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Share()
