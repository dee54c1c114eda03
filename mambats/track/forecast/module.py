"""The Lightning data module of scenes: whole sequences to training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mambats.data.split import Fractions
from mambats.formats.error import DataError
from mambats.track.forecast.batch import ForecastBatch, batch_of
from mambats.track.forecast.features import NAMES
from mambats.track.forecast.own_motion import with_own_motion
from mambats.track.forecast.scene import Scene

SHORTEST = 8  # frames of a piece: of fewer, no track is old enough to be asked


@runtime_checkable
class SceneSource(Protocol):
    """Where scenes come from: labels, a tracker's run, a simulator."""

    name: str
    classes: tuple[str, ...]

    def scenes(self) -> list[Scene]:
        """Return all scenes, the same for the same arguments."""
        ...


class ForecastModule(lightning.LightningDataModule):
    """Cut training scenes into pieces that begin elsewhere each epoch; validate and test on whole scenes.

    Args:
        source: Where scenes come from.
        horizons: Seconds ahead, those of the model.
        test: Names of the scenes for testing; None takes the share at the end that `split` says.
        val: Names for validation; None takes the share of `split`, or with `test` given the training scenes: with
            ten sequences none can be spared, and the last checkpoint is then as good as the best.
        split: Shares where names are not given.
        length: Frames of a piece.
        batch_size: Pieces of a training step.
        seed: Of the order and of where pieces begin.

    After `setup`: `name`, `classes`, `channels`, `period_ns`, `fingerprint`.

    Raises:
        DataError: If a number is too small; from `setup`, if a name is unknown or a part has no scene.
    """

    channels = NAMES

    def __init__(
        self,
        source: SceneSource,
        horizons: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
        test: Sequence[str] | None = None,
        val: Sequence[str] | None = None,
        split: Fractions | None = None,
        length: int = 40,
        batch_size: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if length < SHORTEST or batch_size < 1:
            raise DataError(f"length is {length} frames, batch_size {batch_size}: needed {SHORTEST}, and 1, or more.")
        self.source, self.horizons, self.test, self.val = source, tuple(horizons), test, val
        self.split, self.length, self.batch_size, self.seed = split, length, batch_size, seed
        self._parts: dict[str, list[Scene]] = {}
        self._futures: dict[str, list[Tensor]] = {}

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return self.source.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.source.classes)

    @property
    def period_ns(self) -> int:
        """From one frame to the next."""
        stamps = self.scenes("train")[0].stamps
        return int(stamps[1] - stamps[0]) if len(stamps) > 1 else 10**8

    @property
    def fingerprint(self) -> str:
        """sha256 of stamps, states and true paths of the training scenes."""
        digest = hashlib.sha256()
        for scene in self.scenes("train"):
            for part in (scene.stamps, scene.mean, scene.paths):
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Read, track or simulate all scenes, once for all stages."""
        if self._parts:
            return
        scenes = [with_own_motion(one, self.classes) for one in self.source.scenes()]
        parts = self._named(scenes) if self.test is not None else self._shared(scenes)
        if empty := [name for name, part in parts.items() if not part]:
            raise DataError(f"{self.name} has {len(scenes)} scenes, none for {', '.join(empty)}: name fewer elsewhere.")
        self._parts = parts
        self._futures = {name: [one.future(self.horizons) for one in part] for name, part in parts.items()}

    def scenes(self, split: str) -> list[Scene]:
        """Return the scenes of `train`, `val` or `test`."""
        self.setup()
        return self._parts[split]

    def whole(self, split: str) -> Iterator[ForecastBatch]:
        """Yield the scenes of a part, each a batch."""
        self.setup()
        for scene, future in zip(self._parts[split], self._futures[split], strict=True):
            if len(scene.labels):
                yield batch_of([scene], [future])

    def train_dataloader(self) -> DataLoader[ForecastBatch]:
        """Yield batches of pieces, cut and ordered anew each epoch."""
        self.setup()
        return DataLoader(_Pieces(self._parts["train"], self._futures["train"], self), batch_size=None)

    def val_dataloader(self) -> DataLoader[ForecastBatch]:
        """Yield whole scenes."""
        return DataLoader(list(self.whole("val")), batch_size=None)  # pyright: ignore[reportArgumentType]

    def test_dataloader(self) -> DataLoader[ForecastBatch]:
        """Yield whole scenes."""
        return DataLoader(list(self.whole("test")), batch_size=None)  # pyright: ignore[reportArgumentType]

    def transfer_batch_to_device(
        self, batch: ForecastBatch, device: torch.device, dataloader_idx: int
    ) -> ForecastBatch:
        """Move a batch."""
        return batch.to(device)

    def _named(self, scenes: list[Scene]) -> dict[str, list[Scene]]:
        test, val = list(self.test or ()), list(self.val or ())
        known = [one.name for one in scenes]
        if unknown := sorted({*test, *val} - set(known)):
            raise DataError(f"{self.name} has no scenes {', '.join(unknown)}; there are {', '.join(known)}.")
        train = [one for one in scenes if one.name not in (*test, *val)]
        chosen = [one for one in scenes if one.name in val] if val else train
        return {"train": train, "val": chosen, "test": [one for one in scenes if one.name in test]}

    def _shared(self, scenes: list[Scene]) -> dict[str, list[Scene]]:
        split = self.split or Fractions()
        count = len(scenes)
        train, test = max(1, int(count * split.train)), count - max(1, int(count * split.test))
        return {"train": scenes[:train], "val": scenes[train:test], "test": scenes[max(train, test) :]}


class _Pieces(IterableDataset[ForecastBatch]):
    """Batches of pieces of scenes; every iteration is an epoch of its own."""

    def __init__(self, scenes: list[Scene], futures: list[Tensor], module: ForecastModule) -> None:
        self.scenes, self.futures = scenes, futures
        self.length, self.size = module.length, module.batch_size
        self.generator = torch.Generator().manual_seed(module.seed)

    def __len__(self) -> int:
        """Batches an epoch: as many as all frames fill, whatever the cut."""
        return max(1, sum(len(one.stamps) for one in self.scenes) // (self.length * self.size))

    def __iter__(self) -> Iterator[ForecastBatch]:
        pieces = list(self._cut(int(torch.randint(0, self.length, (1,), generator=self.generator))))
        order = torch.randperm(len(pieces), generator=self.generator).tolist()
        for number in range(len(self)):
            # A scene's ends make pieces more or fewer than counted: what is missing is taken from the start again.
            chosen = [order[(number * self.size + i) % len(order)] for i in range(min(self.size, len(order)))]
            yield batch_of([pieces[i][0] for i in chosen], [pieces[i][1] for i in chosen])

    def _cut(self, offset: int) -> Iterator[tuple[Scene, Tensor]]:
        """Pieces with a track in them."""
        for scene, future in zip(self.scenes, self.futures, strict=True):
            frames = len(scene.stamps)
            for begin in range(-offset, frames, self.length):
                low, high = max(0, begin), min(frames, begin + self.length)
                kept = scene.seen[:, low:high].any(1)
                if high - low >= min(SHORTEST, frames) and bool(kept.any()):
                    yield scene.between(low, high), future[kept, low:high]
