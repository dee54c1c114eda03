"""The Lightning data module of cases: a source in, batches of whole labelled sequences out, split by case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch.distributed
from torch.utils.data import DataLoader

from mambats.data.cases import (
    Case,
    CaseBatch,
    CaseSet,
    check_alike,
    fingerprint,
    fit_scaler,
    known_flags,
    usual_period,
)
from mambats.data.sampler import Share, WindowSampler
from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.scale import Scaler
from mambats.series import Recording

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Holdout:
    """Which cases train and which judge: never rows of one case on both sides.

    Args:
        val: Share of the cases that are not tested which validate.
        folds: Parts of which one is tested, where no test source is given.
        fold: Which of them, from 0.
        seed: Of the order in which cases are dealt out.

    Raises:
        DataError: If a share or fold does not exist.
    """

    val: float = 0.2
    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the shares."""
        if not 0 < self.val < 1 or self.folds < 2 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"val is {self.val}, folds {self.folds}, fold {self.fold}: need a share inside (0, 1), two folds or "
                "more, and a fold from 0 to folds - 1."
            )

    def deal(self, labels: Numbers, *, tested: bool) -> tuple[Numbers, Numbers, Numbers]:
        """Return the numbers of the cases that train, validate and are tested, each rising.

        Cases of equal label are dealt out evenly, so that no class is missing by chance.

        Args:
            labels: Of each case, shape (n,); all 0 where there are no classes.
            tested: Whether a part is tested; else all cases train or validate.
        """
        order = np.random.default_rng(self.seed).permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        place = np.arange(len(order))
        test = order[place % self.folds == self.fold] if tested else order[:0]
        rest = order[place % self.folds != self.fold] if tested else order
        count = min(len(rest) - 1, max(1, round(self.val * len(rest))))
        chosen = np.unique(np.floor((np.arange(count) + 0.5) * len(rest) / max(count, 1)).astype(np.int64))
        return np.sort(np.delete(rest, chosen)), np.sort(rest[chosen]), np.sort(test)


class CasesDataModule(L.LightningDataModule):
    """Read, split and scale cases; batches are `CaseBatch`es, scaled on the cases that train.

    Args:
        source: Where the cases come from.
        truth: Name of the ground truth: `class`, `rul`.
        test: Where the cases to test come from, or None to hold a fold of `source` out.
        streams: Streams read, on one clock; None reads all.
        batch_size: Cases of one training step over all processes together.
        holdout: How cases are dealt out.
        labels: Whether the truth is the index of a class: then each class is dealt out evenly.
        eval_batch_size: Cases of one validation, test or predict step.

    After `setup`: `cases` by split, `scaler`, `channels`, `classes`, `period_ns`, `fingerprint`, `name`.

    Raises:
        DataError: If sizes are not positive; from `setup`, if the data cannot be used.
    """

    scaler: Scaler
    period_ns: int
    fingerprint: str
    #: Names of the classes, empty where the source has none.
    classes: tuple[str, ...]

    def __init__(
        self,
        source: Source,
        truth: str = "class",
        test: Source | None = None,
        streams: Sequence[str] | None = None,
        batch_size: int = 16,
        holdout: Holdout | None = None,
        labels: bool = True,
        eval_batch_size: int = 64,
    ) -> None:
        super().__init__()
        if min(batch_size, eval_batch_size) < 1:
            raise DataError(f"batch_size {batch_size}, eval_batch_size {eval_batch_size}: both must be at least 1.")
        self.source, self.truth, self.test, self.streams = source, truth, test, streams
        self.batch_size, self.holdout, self.labels, self.eval_batch_size = batch_size, holdout, labels, eval_batch_size
        self.cases: dict[str, list[Case]] = {}

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source, with its problem or subset where it has one, and the fold that is held out."""
        source: Any = self.source
        inner = getattr(source, "problem", None) or getattr(source, "subset", None)
        own = str(getattr(source, "name", None) or type(source).__name__)
        fold = "" if self.test is not None else f"_fold{(self.holdout or Holdout()).fold}"
        return (f"{own}_{inner}" if inner else own) + fold

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.cases["predict"][0].channels

    def setup(self, stage: str | None = None) -> None:
        """Read the sources, deal the cases out, fit the scaler; done once for all stages."""
        if self.cases:
            return
        own, self.classes = self._read(self.source, self.name)
        tested = [] if self.test is None else self._read(self.test, "test")[0]
        check_alike([*own, *tested], self.name)
        if self.test is None and stage == "predict":
            tested = own
        known = known_flags(own)
        if not known.any():
            raise DataError(f"{self.name}: no case has the truth {self.truth!r}, so none can train. Check `truth`.")
        own = [case for case, there in zip(own, known, strict=True) if there]
        labels = np.array([_label(case) if self.labels else 0 for case in own], dtype=np.int64)
        train, val, test = (self.holdout or Holdout()).deal(labels, tested=self.test is None)
        self.cases = {"train": [own[i] for i in train], "val": [own[i] for i in val]}
        self.cases["test"] = tested if self.test is not None else [own[i] for i in test]
        self.cases["predict"] = tested or self.cases["test"]
        for split in ("train", "val", "test"):
            check_alike(self.cases[split], f"{self.name}, split {split},")
        self.scaler, self.period_ns = fit_scaler(self.cases["train"]), usual_period(self.cases["train"])
        self.fingerprint = fingerprint(own)

    def split(self, name: str) -> CaseSet:
        """Return the cases of `train`, `val`, `test` or `predict`, scaled.

        Raises:
            DataError: If there is no such split.
        """
        if name not in self.cases:
            raise DataError(f"split is {name!r}: choose one of {', '.join(self.cases) or 'none before setup'}.")
        return CaseSet(self.cases[name], self.scaler, self.period_ns)

    def adopt(self, scaler: Scaler, period_ns: int) -> None:
        """Scale by what a model was trained with instead of this data's own training cases; call it after `setup`.

        Raises:
            DataError: If the scaler has other channels than the data.
        """
        if tuple(scaler.channels) != self.channels:
            raise DataError(
                f"the model was trained on channels {', '.join(scaler.channels)}; {self.name} has "
                f"{', '.join(self.channels)}. Give the same streams in the same order (`streams`)."
            )
        self.scaler, self.period_ns = scaler, period_ns

    def state_dict(self) -> dict[str, Any]:
        """Return scaling and period for the checkpoint (Lightning calls this)."""
        if not self.cases:
            return {}
        mean, scale = self.scaler.mean.clone(), self.scaler.scale.clone()
        return {"channels": list(self.channels), "mean": mean, "scale": scale, "period_ns": self.period_ns}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Scale as the model of the checkpoint was trained (Lightning calls this)."""
        if not state_dict or not self.cases:
            return
        scaler = Scaler(tuple(state_dict["channels"]))
        scaler.mean.copy_(state_dict["mean"])
        scaler.scale.copy_(state_dict["scale"])
        self.adopt(scaler, int(state_dict["period_ns"]))

    def train_dataloader(self) -> DataLoader[CaseBatch]:
        """Yield training batches, in a new order each epoch."""
        cases, seed = self.split("train"), (self.holdout or Holdout()).seed
        sampler = WindowSampler(len(cases), self.batch_size, self._share(), shuffle=True, seed=seed)
        return CaseLoader(cases, batch_size=None, sampler=sampler)  # pyright: ignore[reportArgumentType]

    def val_dataloader(self) -> DataLoader[CaseBatch]:
        """Yield validation batches, each case once, in order."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[CaseBatch]:
        """Yield test batches, each case once, in order."""
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader[CaseBatch]:
        """Yield the cases to predict: those of `test`, else all of the source."""
        return self._evaluation("predict")

    def _evaluation(self, split: str) -> DataLoader[CaseBatch]:
        cases = self.split(split)
        sampler = WindowSampler(len(cases), self.eval_batch_size, self._share())
        return CaseLoader(cases, batch_size=None, sampler=sampler)  # pyright: ignore[reportArgumentType]

    def _read(self, source: Source, where: str) -> tuple[list[Case], tuple[str, ...]]:
        """Return the cases of a source and the names of its classes."""
        recordings, classes = _open(source)
        cases = [Case.of(recording, self.streams, self.truth) for recording in recordings]
        check_alike(cases, where)
        return cases, classes

    def _share(self) -> Share:
        if self.trainer is not None:
            return Share(self.trainer.global_rank, self.trainer.world_size)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return Share()


class CaseLoader(DataLoader[CaseBatch]):
    """A loader whose sampler yields the numbers of whole batches."""

    def __iter__(self) -> Iterator[CaseBatch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield batches."""
        return (self.dataset[numbers] for numbers in self.sampler)


def _open(source: Source) -> tuple[Sequence[Recording], tuple[str, ...]]:
    """Return the recordings of a source, and its classes where it names them (`cases()`)."""
    named = getattr(source, "cases", None)
    if not callable(named):
        return source.recordings(), ()
    cases: Any = named()
    return cases.recordings, tuple(cases.classes)


def _label(case: Case) -> int:
    """Return the last known class of a case."""
    label = float(case.target[np.isfinite(case.target)][-1])
    if label < 0 or label != int(label):
        raise DataError(
            f"{case.name}: its class is {label}, needed a whole number from 0. For other truth: labels false."
        )
    return int(label)
