"""The Lightning skin of a regressor: how it trains, what it logs, what its checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mambats.data.cases import CaseBatch
from mambats.data.cases_border import CasesBorder
from mambats.data.cases_file import CasesFile
from mambats.recipe import describe, rebuild, with_setting
from mambats.regress.conformal import needed_stretch
from mambats.regress.cuts import Cuts
from mambats.regress.model import Regressor
from mambats.task import Optimiser, Stage, Task

if TYPE_CHECKING:
    from mambats.regress.report import RegressReport


class RegressTask(Task):
    """Train, validate and test a `Regressor` on every row of every case whose truth is known.

    After each validation the reach of the intervals is calibrated on the validation cases (split conformal).

    Args:
        model: The regressor.
        optimiser: Optimiser settings.
        cuts: Where the validation cases (and test cases held out of the source) are cut off to be asked; None asks
            every row.
        noise: Deviation of Gaussian noise added to training values, scaled units.
        far: Weight in training of rows whose truth lies above `cuts.high`, which no test asks.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest: a row of every table.
    """

    def __init__(
        self,
        model: Regressor,
        optimiser: Optimiser | None = None,
        cuts: Cuts | None = None,
        noise: float = 0.0,
        far: float = 1.0,
        no_mixer: bool = False,
    ) -> None:
        super().__init__(optimiser)
        if noise < 0 or not 0 <= far <= 1:
            raise ValueError(f"noise is {noise}, far {far}: need at least 0, and a weight in [0, 1].")
        if no_mixer:
            model = rebuild(with_setting(describe(model), "no_mixer", True))
        self.model, self.cuts, self.noise, self.far, self.no_mixer = model, cuts, noise, far, no_mixer
        self.border = CasesBorder()
        self._asked: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Take the scaling of values and target from the data module (Lightning calls this after the data's setup)."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if stage != "fit":
            self.border.check(data)
            return
        self.border.take(data)
        target = np.concatenate([case.target for case in data.cases["train"]])
        held = self.model.held(torch.from_numpy(target[np.isfinite(target)])).double()
        self.model.target.mean.fill_(float(held.mean()))
        self.model.target.scale.fill_(float(held.std(unbiased=False)) or 1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write recipe and border beside the tensors."""
        self.border.write(checkpoint, self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, then make room for its scaler."""
        self.border.read(checkpoint, self)

    def forward(self, batch: CaseBatch) -> Tensor:
        """Return answers (B, T, M, A)."""
        return self.model(batch.values, batch.gaps, observed=batch.observed, mask=batch.mask)[0]

    def shared_step(self, batch: CaseBatch, stage: Stage) -> Tensor:
        """Return the loss of a batch over the rows whose truth is known."""
        known = batch.rows & batch.target.isfinite()
        if stage == "train" and self.noise:
            noisy = batch.values + self.noise * torch.randn_like(batch.values)
            batch = CaseBatch(noisy, batch.target, batch.mask, batch.gaps, batch.observed, batch.case)
        answer = self(batch)
        weight = known.to(answer.dtype)
        if self.cuts is not None:
            weight = weight * torch.where(batch.target > self.cuts.high, self.far, 1.0)
        loss = (self.model.loss(answer, batch.target.nan_to_num(0.0)) * weight).sum() / weight.sum().clamp_min(1)
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch))
        if stage == "val":
            self._ask(batch, answer)
        return loss

    def validation_step(self, batch: CaseBatch, batch_idx: int) -> Tensor:
        """Score one validation batch; after the last one, calibrate the intervals."""
        if batch_idx == 0:
            self._asked = []
        loss = self.shared_step(batch, "val")
        batches: Any = self.trainer.num_val_batches
        # Here and not at the epoch's end: averaged weights are taken back out before that.
        if batch_idx + 1 == int(batches[0]) and self._asked:
            self._calibrate()
        return loss

    def test_step(self, batch: CaseBatch, batch_idx: int) -> Tensor:
        """Return the estimates at every row (B, T, 3), which the report scores beside the baselines."""
        self.shared_step(batch, "test")
        return self.predict_step(batch, batch_idx)

    def predict_step(self, batch: CaseBatch, batch_idx: int) -> Tensor:
        """Return point, low and high at every row in the target's unit, (B, T, 3); NaN where there is no row."""
        estimate = torch.stack(self.model.estimate(self(batch)), -1)
        return torch.where(batch.rows.unsqueeze(-1), estimate, torch.nan)

    def report(self, name: str, folder: Path) -> RegressReport:
        """Return the callback that scores a test beside the baselines."""
        from mambats.regress.report import RegressReport

        return RegressReport(name, folder)

    def prediction_file(self, path: Path) -> CasesFile:
        """Return the callback that writes a line a row: point and interval."""
        return CasesFile(path, ("estimate", "low", "high"))

    def asked_rows(self, target: Tensor, case: int) -> Tensor:
        """Return the rows at which a case that ran to its end is asked, from its truth (T,)."""
        known = target.isfinite().nonzero()[:, 0]
        return known if self.cuts is None else self.cuts.rows(target, case)

    def _ask(self, batch: CaseBatch, answer: Tensor) -> None:
        """Keep answers and truth at the asked rows of a batch."""
        numbers = range(len(batch)) if batch.case is None else batch.case.tolist()
        target = torch.where(batch.rows, batch.target, torch.nan)
        for index, number in enumerate(numbers):
            rows = self.asked_rows(target[index], number)
            self._asked.append((answer[index, rows].detach(), target[index, rows]))

    def _calibrate(self) -> None:
        """Set the stretch with which the intervals cover their level of the validation truth; log it and the error."""
        answer, truth = (torch.cat(each) for each in zip(*self._asked, strict=True))
        self._asked = []
        if not len(truth):
            return
        model = self.model
        model.stretch.copy_(needed_stretch(model.unheld(answer), truth, model.level, model.floor, model.cap))
        error = (model.estimate(answer).point - model.held(truth)).square().mean().sqrt()
        self.log("val_rmse", error, prog_bar=True, batch_size=len(truth), sync_dist=True)
        if self.trainer.world_size > 1:
            self.model.stretch.copy_(self.trainer.strategy.reduce(self.model.stretch, reduce_op="mean"))
