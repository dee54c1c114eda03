"""The Lightning data module of noise models: labelled recordings in, batches of paths of detections out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import Recording
from mambats.track.kitti import from_kitti
from mambats.track.learned.labelled import Labelled, labelled
from mambats.track.learned.paths import Paths, paths_of

SPLITS = ("train", "val", "test")


class PathData(L.LightningDataModule):
    """Join detections with labels, cut their paths into pieces, and part the recordings into splits.

    Pieces of like length share a batch, so that little is padded; training draws anew which ones each epoch.

    Args:
        source: Recordings with the ragged streams `labels` and `detections` in KITTI's columns; those without labels
            are left out.
        classes: Names.
        val: Names of the recordings, or ends of them, that validate.
        test: And that test; all others train.
        length: Frames of a piece.
        cells: Frames of all pieces of a batch together, padding with them.
        seed: Key of the draws.

    After `setup`: `sequences` by split, `paths` by split, `fingerprint`.

    Raises:
        DataError: From `setup`, if no recording has labels and detections, or a split has none.
    """

    channels = ("x", "y", "z", "length", "width", "height", "yaw", "score")
    period_ns = 100_000_000

    def __init__(
        self,
        source: Source,
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        val: Sequence[str] = (),
        test: Sequence[str] = (),
        length: int = 60,
        cells: int = 6000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if length < 2 or cells < length:
            raise DataError(f"length is {length}, cells {cells}: needed 2 frames or more, and cells for one piece.")
        self.source, self.classes, self.val, self.test = source, tuple(classes), tuple(val), tuple(test)
        self.length, self.cells, self.seed = length, cells, seed
        self.sequences, self.paths, self.fingerprint = dict[str, list[str]](), dict[str, Paths](), ""

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return str(getattr(self.source, "name", None) or type(self.source).__name__)

    def setup(self, stage: str | None = None) -> None:
        """Read the recordings, once for all stages."""
        if self.paths:
            return
        parts: dict[str, list[tuple[int, Labelled]]] = {split: [] for split in SPLITS}
        self.sequences = {split: [] for split in SPLITS}
        digest = hashlib.sha256()
        for recording in self.source.recordings():
            if "labels" not in recording.ragged or "detections" not in recording.ragged:
                continue
            split = self._split(recording.name)
            self.sequences[split].append(recording.name)
            parts[split] += [(k, labels_of(recording, name)) for k, name in enumerate(self.classes)]
            digest.update(recording.name.encode() + recording.ragged["detections"].values.tobytes())
        if empty := [split for split in SPLITS if not self.sequences[split]]:
            known = ", ".join(one for some in self.sequences.values() for one in some) or "none"
            raise DataError(
                f"{self.name}: no labelled recording for {', '.join(empty)}; found {known}. Name others in `val` and "
                "`test`."
            )
        self.paths = {split: paths_of(some, self.length) for split, some in parts.items()}
        self.fingerprint = digest.hexdigest()

    def _split(self, name: str) -> str:
        ends = {"test": self.test, "val": self.val}
        return next((split for split, some in ends.items() if name.endswith(some)), "train")

    def train_dataloader(self) -> DataLoader[Paths]:
        """Yield all training pieces, in batches drawn anew each epoch."""
        return DataLoader(Batches(self.paths["train"], self.cells, self.seed), batch_size=None)

    def val_dataloader(self) -> DataLoader[Paths]:
        """Yield all validation pieces."""
        return DataLoader(Batches(self.paths["val"], self.cells), batch_size=None)

    def test_dataloader(self) -> DataLoader[Paths]:
        """Yield all test pieces."""
        return DataLoader(Batches(self.paths["test"], self.cells), batch_size=None)


class Batches(IterableDataset[Paths]):
    """Pieces of paths in batches of like length.

    Args:
        paths: All pieces.
        cells: Of a batch.
        seed: Key of the draws; None for the same batches in the same order each time.
    """

    def __init__(self, paths: Paths, cells: int, seed: int | None = None) -> None:
        super().__init__()
        self.paths, self.cells = paths, cells
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._lengths = paths.lengths()

    def __iter__(self) -> Iterator[Paths]:
        """Yield the batches of an epoch."""
        lengths, drawn = self._lengths.double(), self.generator
        if drawn is not None:  # like lengths meet, but not always the same
            lengths = lengths * (0.8 + 0.4 * torch.rand(len(lengths), generator=drawn))
        groups = self._groups(torch.argsort(lengths, descending=True))
        order = torch.arange(len(groups)) if drawn is None else torch.randperm(len(groups), generator=drawn)
        for one in order.tolist():
            yield self.paths.take(groups[one])

    def __len__(self) -> int:
        """Return about how many batches an epoch has."""
        return len(self._groups(torch.argsort(self._lengths, descending=True)))

    def _groups(self, order: Tensor) -> list[Tensor]:
        groups, lengths, begin = list[Tensor](), self._lengths[order].tolist(), 0
        while begin < len(order):
            end, longest = begin, 0
            while end < len(order) and (end - begin + 1) * max(longest, lengths[end]) <= self.cells:
                longest, end = max(longest, lengths[end]), end + 1
            groups.append(order[begin : max(end, begin + 1)])
            begin = max(end, begin + 1)
        return groups


def labels_of(recording: Recording, kind: str) -> Labelled:
    """Return the detections of a class in a recording of KITTI's columns beside its labels."""
    streams: Any = recording.ragged
    return labelled(from_kitti(streams["detections"]), from_kitti(streams["labels"]), kind)
