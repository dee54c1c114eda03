"""The Lightning data module of sweeps with boxes: whole drives to training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mambats.data.sampler import Share, WindowSampler
from mambats.data.split import SPLITS, Fractions
from mambats.formats.error import DataError
from mambats.track.centre.sweeps import CHANNELS, SweepBatch, SweepSource, SweepTable


class SweepModule(lightning.LightningDataModule):
    """Deal the drives of a source, in their order, to training, validation and test, and batch their sweeps.

    Args:
        source: Where sweeps come from (`mambats_datasets.synthetic.world.lidar_drives.LidarDrives`).
        before: How many sweeps back to lay over each, 0 the sweep itself: a sweep alone does not tell velocities.
        batch_size: Sweeps of one step over all processes together.
        split: Shares of the drives for training and test; validation gets the rest.
        seed: Key of the training order.

    After `setup`: `name`, `classes`, `channels`, `period_ns`, `fingerprint`.

    Raises:
        DataError: If `before` does not begin with 0, or a number is not positive; from `setup`, if there are
            fewer than three drives.
    """

    channels = CHANNELS

    def __init__(
        self,
        source: SweepSource,
        before: Sequence[int] = (0, 2, 4),
        batch_size: int = 8,
        split: Fractions | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not before or before[0] != 0 or min(before) < 0 or batch_size < 1:
            raise DataError(f"before is {list(before)}, batch_size {batch_size}: needed 0 first, and at least 1.")
        self.source, self.before, self.batch_size = source, tuple(before), batch_size
        self.split, self.seed = split, seed
        self._tables: dict[str, SweepTable] = {}

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return self.source.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.source.classes

    @property
    def period_ns(self) -> int:
        """From one sweep to the next."""
        stamps = self.table("train").stamps
        return int(stamps[1] - stamps[0]) if len(stamps) > 1 else 10**8

    @property
    def fingerprint(self) -> str:
        """sha256 of stamps, boxes and labels of all splits."""
        digest = hashlib.sha256()
        for table in self._tables.values():
            for part in (table.stamps, table.boxes, table.labels):
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Simulate or read the sweeps, once for all stages."""
        if self._tables:
            return
        table, split = self.source.sweeps(), self.split or Fractions()
        drives = table.drive.unique_consecutive()
        if len(drives) < 3:
            raise DataError(
                f"{self.name} has {len(drives)} drives: needed 3 or more, one for each of {', '.join(SPLITS)}."
            )
        test = len(drives) - max(1, int(len(drives) * split.test))
        train = min(max(1, int(len(drives) * split.train)), test - 1)
        parts = {"train": drives[:train], "val": drives[train:test], "test": drives[test:]}
        self._tables = {name: table.take(torch.isin(table.drive, part)) for name, part in parts.items()}

    def table(self, split: str) -> SweepTable:
        """Return all sweeps of `train`, `val` or `test`."""
        self.setup()
        return self._tables[split]

    def train_dataloader(self) -> DataLoader[SweepBatch]:
        """Yield training batches, in a new order each epoch."""
        count = len(self.table("train"))
        return self._loader(
            "train", WindowSampler(count, min(self.batch_size, count), Share(), shuffle=True, seed=self.seed)
        )

    def val_dataloader(self) -> DataLoader[SweepBatch]:
        """Yield validation batches in order."""
        return self._loader("val", WindowSampler(len(self.table("val")), self.batch_size, Share()))

    def test_dataloader(self) -> DataLoader[SweepBatch]:
        """Yield test batches in order."""
        return self._loader("test", WindowSampler(len(self.table("test")), self.batch_size, Share()))

    def transfer_batch_to_device(self, batch: SweepBatch, device: torch.device, dataloader_idx: int) -> SweepBatch:
        """Move a batch."""
        return batch.to(device)

    def _loader(self, split: str, sampler: WindowSampler) -> DataLoader[SweepBatch]:
        return DataLoader(_Laid(self.table(split), self.before), batch_size=None, sampler=sampler)


class _Laid(Dataset[SweepBatch]):
    """Batches of a table by their rows."""

    def __init__(self, table: SweepTable, before: tuple[int, ...]) -> None:
        self.table, self.before = table, before

    def __getitem__(self, rows: Tensor) -> SweepBatch:
        return self.table.batch(torch.as_tensor(rows), self.before)
