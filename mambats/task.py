"""The Lightning skin over a model: one shared step, the optimiser and its schedule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor, nn

from mambats.checkpoint import check_same_model, write_entry

Stage = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Optimiser:
    """AdamW with warm-up and a cosine to zero.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled decay; never applied to A, D, biases, norms and other vectors.
        warmup: Share of all steps over which the rate rises linearly.
        schedule: `cosine` falls to 0 at the last step, `constant` stays.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"

    def factor(self, step: int, steps: int) -> float:
        """Return the share of `lr` at a step of `steps`."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return (step + 1) / rise
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into decayed matrices and the rest (vectors, and those marked `_no_weight_decay`)."""
    decayed, free = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            marked = getattr(parameter, "_no_weight_decay", False)
            (free if marked or parameter.ndim < 2 else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


class AveragedWeights(EMAWeightAveraging):
    """Validate, test and save with an exponential mean of the weights.

    Args:
        decay: Share of the mean kept at each step; 0.99 remembers some hundred steps.
    """

    def __init__(self, decay: float = 0.99) -> None:
        # Buffers (scaling, cycle) are copied, not averaged: they are fitted, not trained.
        super().__init__(use_buffers=False, decay=decay)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Copy the model only after it has taken what it fits on the data: Lightning sets up callbacks first."""
        if stage == "fit":
            pl_module.setup(stage)
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the mean when a fit goes on; a test reads the mean from the checkpoint's weights."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class Task(lightning.LightningModule, ABC):
    """Train any model that turns a batch into a loss.

    Args:
        optimiser: Optimiser settings; the defaults of `Optimiser` where None.
    """

    def __init__(self, optimiser: Optimiser | None = None) -> None:
        super().__init__()
        self.optimiser = optimiser

    @abstractmethod
    def shared_step(self, batch: Any, stage: Stage) -> Tensor:
        """Return the loss of a batch and log what the stage reports."""

    def report(self, name: str, folder: Path) -> Callback | None:
        """Return what writes down a test: rows beside baselines to results.json, a table, pictures; None for nothing.

        Args:
            name: Of the run, the model's name in the table.
            folder: Of the run.
        """
        return None

    def prediction_file(self, path: Path) -> Callback:
        """Return what writes the answers of `mambats predict` to a file (.parquet or .csv).

        Raises:
            ValueError: If this task has no such file.
        """
        raise ValueError(f"{type(self).__name__} writes no predictions: take a task that does, or call it from Python.")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train on one batch."""
        return self.shared_step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Score one validation batch."""
        return self.shared_step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Score one test batch."""
        return self.shared_step(batch, "test")

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule, stepped after every batch."""
        settings = self.optimiser or Optimiser()
        optimizer = torch.optim.AdamW(parameter_groups(self, settings.weight_decay), lr=settings.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: settings.factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StreamsTask(Task):
    """A task on streams of sensors: its checkpoint names the channels, the period and the data it was fitted on.

    A subclass sets `source`, `fingerprint`, `channels` and `period_ns` once it has seen the data.

    Args:
        optimiser: Optimiser settings; the defaults of `Optimiser` where None.
    """

    def __init__(self, optimiser: Optimiser | None = None) -> None:
        super().__init__(optimiser)
        self.source, self.fingerprint, self.channels = "", "", tuple[str, ...]()
        self.period_ns: int | None = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the recipe beside the tensors, as plain values."""
        if self.period_ns is None:
            raise ValueError("the task has seen no data, so there is nothing to save: fit it first.")
        write_entry(checkpoint, self, self.channels, self.period_ns, source=self.source, fingerprint=self.fingerprint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model."""
        entry = check_same_model(checkpoint, self)
        self.channels, self.period_ns = tuple(entry.channels), entry.period_ns
        self.source, self.fingerprint = entry.source, entry.fingerprint
