"""The Lightning skin of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.anomaly.data import LabelledSeries
from mambats.anomaly.detector import Detected, Detector, whole_series
from mambats.anomaly.report import Report
from mambats.anomaly.rows import Rows
from mambats.anomaly.score_file import ScoreFile
from mambats.checkpoint import check_same_model, write_entry
from mambats.recipe import describe, rebuild, with_setting
from mambats.task import Optimiser, Stage, Task


class AnomalyTask(Task):
    """Train a detector's model on windows without labels; test it on whole series, row after row.

    Args:
        model: The detector; its calibration has nothing to train.
        optimiser: Optimiser settings.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest: a row of every table.
    """

    def __init__(self, model: Detector, optimiser: Optimiser | None = None, no_mixer: bool = False) -> None:
        super().__init__(optimiser)
        if no_mixer:
            model = rebuild(with_setting(describe(model), "no_mixer", True))
        self.model, self.no_mixer = model, no_mixer
        self.channels: tuple[str, ...] = ()
        self.source = ""

    def setup(self, stage: str) -> None:
        """Take the names of the channels from the data module."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if self.channels and self.channels != tuple(data.channels):
            raise ValueError(
                f"the model was trained on channels {list(self.channels)}, the data has {list(data.channels)}: give "
                "the same columns in the same order."
            )
        self.channels, self.source = tuple(data.channels), data.name

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the recipe beside the tensors. Each series has its own period, so the entry's is 1 ns."""
        write_entry(checkpoint, self, self.channels, 1, source=self.source)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model."""
        entry = check_same_model(checkpoint, self)
        self.channels, self.source = tuple(entry.channels), entry.source

    def forward(self, rows: Rows) -> Detected:
        """Score whole series."""
        return whole_series(self.model, rows)

    def shared_step(self, batch: Rows, stage: Stage) -> Tensor:
        """Return the loss of a batch of windows."""
        loss = self.model.scorer.loss(batch)
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch.values))
        return loss

    def test_step(self, batch: LabelledSeries, batch_idx: int) -> Detected:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Score one series; the report judges what is returned, beside the baselines."""
        found = self(batch.rows)
        self.log("test_alarms", found.alarm.double().mean(), batch_size=1)
        return found

    def predict_step(self, batch: LabelledSeries, batch_idx: int) -> Detected:
        """Score one series."""
        return self(batch.rows)

    def prediction_file(self, path: Path) -> Callback:
        """Return what writes score and alarm of every row."""
        return ScoreFile(path)

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table, results.json and the pictures of a test."""
        return Report(name, folder)
