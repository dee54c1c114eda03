"""What every run gets, whatever its recipe says: a folder, curves, MLflow where it is, safe checkpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.command.metrics_file import MetricsFile
from mambats.command.run_folder import RunFolder
from mambats.experiment import MLflow, installed

#: The metric that picks the best checkpoint: what is minimised, on validation rows.
MONITOR = "val_loss"


class EpochLine(Callback):
    """Print a line after each validation, where no terminal shows a progress bar."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print epoch, step and the metrics the progress bar would show."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("val_", "train_"))}
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items()))
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {trainer.global_step}  {numbers}", flush=True
        )


def loggers(
    given: object, folder: RunFolder, command: str, tracking_uri: str | None, *, resume: bool = False
) -> list[Logger]:
    """Return the loggers of a run: the curves always, MLflow unless `trainer.logger` is false or it is not installed.

    Args:
        given: What the recipe put under `trainer.logger`.
        folder: The run's folder.
        command: `fit`, `test`, ...; only a fit writes metrics.csv.
        tracking_uri: Address of MLflow, or None.
        resume: Whether the fit starts from a checkpoint; the curves then go on.
    """
    listed = _as_list(given)
    if given is not False and command in ("fit", "test") and not any(isinstance(each, MLflow) for each in listed):
        if installed():
            listed.append(MLflow())
        else:
            print("MLflow is not installed: this run is written to metrics.csv and results.json only.")
    for each in listed:
        if isinstance(each, MLflow):
            _place(each, folder, command, tracking_uri)
    if command == "fit":
        listed.insert(0, MetricsFile(folder.metrics, resume))
    return listed


def callbacks(given: Iterable[Callback], folder: RunFolder, command: str) -> list[Callback]:
    """Return the callbacks of a run: those of the recipe, and the best and last checkpoint of a fit."""
    listed = list(given)
    if not is_terminal():
        listed.append(EpochLine())
    keepers = [each for each in listed if isinstance(each, ModelCheckpoint)]
    for each in keepers:
        if each.dirpath is None:
            each.dirpath = str(folder.checkpoints)
    if command == "fit" and not keepers:
        # Fixed names: a new fit replaces the files of the last one, each at the moment it has something better to say.
        listed.append(
            ModelCheckpoint(
                dirpath=folder.checkpoints,
                filename="best",
                monitor=MONITOR,
                mode="min",
                save_last=True,
                enable_version_counter=False,
                auto_insert_metric_name=False,
            )
        )
    return listed


def plugins(given: object) -> list[Any]:
    """Return the plugins of a run: those of the recipe and the safe way to save."""
    return [*_as_list(given), SafeCheckpointIO()]


def settle_threads() -> None:
    """Use the cores that are free, unless OMP_NUM_THREADS says how many.

    Threads that wait for a busy core at the end of every small operation cost more than they bring: with both of two
    cores busy, two threads trained five times as long as one (112 s against 21 s).
    """
    if "OMP_NUM_THREADS" in os.environ or not hasattr(os, "getloadavg"):
        return
    torch.set_num_threads(max(1, torch.get_num_threads() - round(os.getloadavg()[0])))


def is_terminal() -> bool:
    """Say whether somebody looks: progress bars are for terminals."""
    return sys.stdout.isatty()


def _place(logger: MLflow, folder: RunFolder, command: str, tracking_uri: str | None) -> None:
    """Fill in what the recipe left open, and go on with the run of the last fit when it is tested."""
    logger.folder = logger.folder or str(folder.runs)
    logger.run_name = logger.run_name or folder.name
    logger.tracking_uri = logger.tracking_uri or tracking_uri
    fit = folder.read_fit() if command == "test" else None
    if fit is not None and logger.run_id is None and fit.tracking_uri == logger.address:
        logger.run_id = fit.mlflow_run


def _as_list(given: object) -> list[Any]:
    if given is None or isinstance(given, bool):
        return []
    return list(given) if isinstance(given, list | tuple) else [given]
