"""The Lightning skin of a `StreamRegressor`: windows of several streams in, numbers at the stamps of the truth out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.regress.stream_model import StreamRegressor
from mambats.results import Mode, Row, rows_of, seed_of_run, show_results
from mambats.series import SensorWindow
from mambats.task import Optimiser, Stage, StreamsTask


class StreamRegressTask(StreamsTask):
    """Train, validate and test a `StreamRegressor` on windows with ground truth (`SensorDataModule`).

    Every row of the truth asks at its stamp; targets are scaled by the training windows' mean and deviation.

    Args:
        model: The regressor; as many targets as the truth has columns.
        truth: Name of the ground truth.
        optimiser: Optimiser settings.
    """

    def __init__(self, model: StreamRegressor, truth: str = "motion", optimiser: Optimiser | None = None) -> None:
        super().__init__(optimiser)
        self.model, self.truth = model, truth

    def setup(self, stage: str) -> None:
        """Scale the targets on the training windows (Lightning calls this after the data's setup).

        Raises:
            ValueError: If the windows have no such truth, or of other columns.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None or stage != "fit":
            return
        rows = data.windows("train").truth
        if self.truth not in rows:
            raise ValueError(f"windows have the truth {sorted(rows)}, not {self.truth!r}: name it in data.truth.")
        self.model.scale(rows[self.truth].values[rows[self.truth].mask])
        self.source, self.fingerprint = data.name, data.fingerprint
        self.channels, self.period_ns = data.channels, data.period_ns

    def shared_step(self, batch: SensorWindow, stage: Stage) -> Tensor:
        """Return Huber's loss of a batch: squared within one deviation of the target, linear beyond."""
        asked = batch.truth[self.truth]
        answer = self.model(batch.streams, asked, batch.length_ns)
        wanted = self.model.scaler.transform(asked.values)
        loss = torch.nn.functional.smooth_l1_loss(answer[asked.mask], wanted[asked.mask])
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: SensorWindow, batch_idx: int) -> Tensor:
        """Return answers and truth of a batch, (2, n, k), which the report scores."""
        asked = batch.truth[self.truth]
        answer = self.model.estimate(self.model(batch.streams, asked, batch.length_ns))
        return torch.stack([answer[asked.mask], asked.values[asked.mask].to(answer)])

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table of a test."""
        return StreamReport(name, folder)


class StreamReport(Callback):
    """Score answers beside the training mean, which anything must beat: RMSE of each target.

    Answers are online; where the encoder looks ahead they are fixed-lag, and their name says by how many seconds.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self._seen: list[Tensor] = []

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        self.rows, self._seen = [], []

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: SensorWindow, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the answers of a batch."""
        self._seen.append(outputs.double().cpu())

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json and print the table."""
        if not self._seen or not trainer.is_global_zero:
            return
        answer, truth = torch.cat(self._seen, 1)
        mean = pl_module.model.scaler.mean.double().cpu().expand_as(truth)
        lag = pl_module.model.lag
        mine = f"{self.name} (lag {lag:g} s)" if lag else self.name
        mode: Mode = "fixed-lag" if lag else "online"
        for name, said in ((mine, answer), ("training mean", mean)):
            errors = (said - truth).square().mean(0).sqrt()
            self.rows += rows_of(
                {f"rmse_{target}": error for target, error in zip(pl_module.model.targets, errors, strict=True)},
                model=name, source=trainer.datamodule.name, split="test", lookback=0, horizon=1,
                windows=len(truth), seed=seed_of_run() if name == mine else None, mode=mode,
            )  # fmt: skip
        show_results(self.folder, self.rows)
