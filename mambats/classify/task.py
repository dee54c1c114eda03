"""The Lightning skin of a classifier: how it trains, what it logs, what its checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats.classify.model import Classifier
from mambats.data.cases import CaseBatch
from mambats.data.cases_border import CasesBorder
from mambats.data.cases_file import CasesFile
from mambats.recipe import describe, rebuild, with_setting
from mambats.task import Optimiser, Stage, Task

if TYPE_CHECKING:
    from mambats.classify.report import ClassifyReport


@dataclass(frozen=True)
class Augment:
    """Change training cases a little, as another wearer or another sensor would.

    Args:
        noise: Deviation of Gaussian noise added to each value, scaled units.
        scale: Deviation of the logarithm of a factor on each channel of each case.
        shift: Largest share of a case's beginning that is left out.
        absent: Chance that a channel of a case is not observed at all.
    """

    noise: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    absent: float = 0.0

    def __call__(self, batch: CaseBatch) -> CaseBatch:
        """Return a changed batch of the same shapes."""
        values, (cases, _, channels) = batch.values, batch.values.shape
        factor = torch.exp(self.scale * torch.randn(cases, 1, channels, device=values.device))
        values = values * factor + self.noise * torch.randn_like(values)
        observed, mask = batch.observed, batch.mask
        if self.absent:
            kept = torch.rand(cases, 1, channels, device=values.device) >= self.absent
            observed = kept.expand_as(values) if observed is None else observed & kept
        if self.shift:
            length = batch.rows.sum(1)
            first = torch.rand(cases, device=values.device) * self.shift * length
            mask = batch.rows & (torch.arange(values.shape[1], device=values.device) >= first[:, None])
        values = values if observed is None else torch.where(observed, values, 0)
        return CaseBatch(values, batch.target, mask, batch.gaps, observed, batch.case)


class ClassifyTask(Task):
    """Train, validate and test a `Classifier` by cross entropy.

    Args:
        model: The classifier.
        optimiser: Optimiser settings.
        smoothing: Share of the target spread evenly over all classes in training, in [0, 1).
        augment: How training cases are changed, or None.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest: a row of every table.
    """

    def __init__(
        self,
        model: Classifier,
        optimiser: Optimiser | None = None,
        smoothing: float = 0.1,
        augment: Augment | None = None,
        no_mixer: bool = False,
    ) -> None:
        super().__init__(optimiser)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}: need a share in [0, 1).")
        if no_mixer:
            model = rebuild(with_setting(describe(model), "no_mixer", True))
        self.model, self.smoothing, self.augment, self.no_mixer = model, smoothing, augment, no_mixer
        self.border = CasesBorder()
        #: Names of the classes, where the data has them.
        self.classes: tuple[str, ...] = ()

    def setup(self, stage: str) -> None:
        """Take scaling and class names from the data module (Lightning calls this after the data's setup)."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if stage != "fit":
            self.border.check(data)
            return
        if data.classes and len(data.classes) != self.model.classes:
            raise ValueError(
                f"the model tells {self.model.classes} classes apart, {data.name} has {len(data.classes)} "
                f"({', '.join(data.classes)}): set model.init_args.classes to it."
            )
        self.border.take(data)
        self.classes = data.classes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write recipe, border and class names beside the tensors."""
        self.border.write(checkpoint, self)
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, then make room for its scaler."""
        self.border.read(checkpoint, self)
        self.classes = tuple(checkpoint.get("classes", ()))

    def forward(self, batch: CaseBatch) -> Tensor:
        """Return logits (B, K)."""
        return self.model(batch.values, batch.gaps, observed=batch.observed, mask=batch.mask)

    def shared_step(self, batch: CaseBatch, stage: Stage) -> Tensor:
        """Return the cross entropy of a batch."""
        labels = label_of(batch, self.model.classes)
        if stage == "train" and self.augment is not None:
            batch = self.augment(batch)
        logits = self(batch)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing if stage == "train" else 0.0)
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch))
        right = (logits.argmax(-1) == labels).float().mean()
        self.log(f"{stage}_accuracy", right, prog_bar=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: CaseBatch, batch_idx: int) -> Tensor:
        """Return probabilities (B, K), which the report scores beside the baselines."""
        self.shared_step(batch, "test")
        return self.predict_step(batch, batch_idx)

    def predict_step(self, batch: CaseBatch, batch_idx: int) -> Tensor:
        """Return the probability of each class, (B, K)."""
        return self(batch).softmax(-1)

    def report(self, name: str, folder: Path) -> ClassifyReport:
        """Return the callback that scores a test beside the baselines."""
        from mambats.classify.report import ClassifyReport

        return ClassifyReport(name, folder)

    def prediction_file(self, path: Path) -> CasesFile:
        """Return the callback that writes a line a case: the probability of each class."""
        names = self.classes or tuple(str(each) for each in range(self.model.classes))
        return CasesFile(path, names)


def label_of(batch: CaseBatch, classes: int) -> Tensor:
    """Return the class of each case, shape (B,) int64.

    Raises:
        ValueError: If a case has none, or one that the model does not know.
    """
    label = batch.last
    if bool(label.isnan().any()) or bool((label < 0).any()) or bool((label >= classes).any()):
        raise ValueError(
            f"labels are {label.tolist()}: need whole numbers from 0 to {classes - 1}. Cases without a label cannot "
            "train or be scored (predict takes them); for more classes set model.init_args.classes."
        )
    return label.long()
