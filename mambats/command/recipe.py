"""`mambats fit | validate | test | predict`: a recipe in, a run's folder out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from mambats.command import setup
from mambats.command.parser import WRAPPED, RecipeParser, checked_words, dump, locate, tidy
from mambats.command.predict import PredictionFile
from mambats.command.quiet import quieten
from mambats.command.record import Record
from mambats.command.run_folder import LastFit, RunFolder
from mambats.experiment import MLflow
from mambats.forecast.report import Report
from mambats.forecast.task import ForecastTask
from mambats.recipe import RecipeError
from mambats.task import Task

DAY_NS = 86_400 * 10**9
#: Trainer settings a recipe may override.
TRAINER_DEFAULTS: dict[str, Any] = {
    # The data modules bring their own distributed sampler; Lightning's would shuffle again by its own rule.
    "use_distributed_sampler": False,
    "log_every_n_steps": 20,
    "num_sanity_val_steps": 0,
}


def run(words: list[str], command: str) -> int:
    """Run `fit`, `validate`, `test` or `predict`.

    Args:
        words: Command line after the command.
        command: Which of them.
    """
    run_recipe(words, command)
    return 0


def run_recipe(words: list[str], command: str) -> RecipeCLI:
    """Run a command on a recipe and return what did it: folder, model, data and trainer."""
    quieten()
    setup.settle_threads()
    kept, name = checked_words(words)
    try:
        return RecipeCLI([command, *kept], name or "run")
    except RecipeError as error:
        raise RecipeError(locate(str(error), kept)) from error


class RecipeCLI(LightningCLI):
    """Lightning's command line with our folder, loggers, checkpoints and error voice.

    Args:
        words: Command and its words.
        default_name: Name of the run where the recipe gives none.
    """

    folder: RunFolder

    def __init__(self, words: list[str], default_name: str) -> None:
        self.default_name = default_name
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_kwargs={"prog": "mambats"},
            parser_class=RecipeParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=words,
        )

    def add_arguments_to_parser(self, parser: RecipeParser) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add the keys that are ours."""
        parser.add_argument(
            "--name", type=str | None, default=None, help="Name of the run; default: the recipe's file."
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--tracking_uri",
            type=str | None,
            default=None,
            help="Address of MLflow (http://host:5000); default: MLFLOW_TRACKING_URI, else sqlite in `runs`.",
        )
        parser.add_argument(
            "--season", type=int | None, default=None, help="Rows in a season, for baselines; default: a day."
        )
        parser.add_argument(
            "--ridge_lookback", type=int | None, default=None, help="Rows the ridge baseline reads; default: lookback."
        )
        parser.add_argument("--output", type=str | None, default=None, help="predict: file to write, .parquet or .csv.")

    def _parse_ckpt_path(self) -> None:
        # Lightning would read hyperparameters from the file before it is verified; our recipe is in our own entry.
        return

    def before_instantiate_classes(self) -> None:
        """Settle the run's name and folder, and the checkpoint to be tested."""
        config = self.config[str(self.subcommand)]
        name = config.name or self.default_name
        config.name = name + "-no_mixer" if _without_mixer(config) and not name.endswith("-no_mixer") else name
        self.folder = RunFolder(Path(config.runs), config.name)
        if self.subcommand != "fit" and config.ckpt_path is None:
            config.ckpt_path = str(self.folder.best_checkpoint())
        if self.subcommand == "test":
            # The report prints one table; Lightning's own would be a second.
            config.verbose = False
        if self.subcommand == "predict":
            # The callback writes them as they come.
            config.return_predictions = False

    def instantiate_classes(self) -> None:
        """Build model and data; what a constructor refuses is the recipe's mistake.

        Raises:
            RecipeError: With the constructor's words.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            # jsonargparse tries every type a slot allows and wraps the reasons.
            if not str(error).startswith(WRAPPED):
                raise
            raise RecipeError(tidy(str(error)) + ".") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer of the recipe with what every run gets."""
        given = dict(self._get(self.config_init, "trainer", default={}))
        command = str(self.subcommand)
        tracking_uri = self._get(self.config_init, "tracking_uri")
        given["logger"] = setup.loggers(
            given.get("logger"), self.folder, command, tracking_uri, resume=self.config[command].ckpt_path is not None
        )
        given["callbacks"] = setup.callbacks(given.get("callbacks") or [], self.folder, command)
        given["callbacks"].append(Record(self.folder, dump(self._parser(command), self.config[command])))
        given["plugins"] = setup.plugins(given.get("plugins"))
        given["default_root_dir"] = given.get("default_root_dir") or self.folder.path
        if given.get("enable_progress_bar") is None:
            given["enable_progress_bar"] = setup.is_terminal()
        if given.get("enable_model_summary") is None:
            given["enable_model_summary"] = command == "fit" and setup.is_terminal()
        return Trainer(**{**given, **kwargs})

    def before_fit(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def after_fit(self) -> None:
        """Note which checkpoint was the best and hand the files to MLflow."""
        keeper = next((c for c in self.trainer.callbacks if isinstance(c, ModelCheckpoint)), None)  # pyright: ignore[reportAttributeAccessIssue]
        if not self.trainer.is_global_zero or keeper is None or not keeper.best_model_path:
            return
        best = Path(keeper.best_model_path)
        logger = self._mlflow()
        score = None if keeper.best_model_score is None else float(keeper.best_model_score)
        self.folder.write_fit(
            LastFit(
                os.path.relpath(best, self.folder.path),
                score,
                keeper.monitor,
                logger.run_id if logger else None,
                logger.address if logger else None,
            )
        )
        if logger is not None:
            logger.log_file(best, "checkpoints")
            logger.log_file(self.folder.metrics)
        print(f"fit took {time.monotonic() - self._began:.0f} s{peak_memory()}")
        print(f"best checkpoint: {best}" + (f" ({keeper.monitor} {score:.4g})" if score is not None else ""))
        if logger is not None:
            print(f"MLflow run: {logger.run_id} at {logger.address}")

    def before_predict(self) -> None:
        """Write the answers to a file."""
        output = Path(self._get(self.config, "output") or self.folder.path / "predictions.parquet")
        forecasts = not isinstance(self.model, Task) or isinstance(self.model, ForecastTask)
        self._add(PredictionFile(output) if forecasts else self.model.prediction_file(output))

    def before_test(self) -> None:
        """Score beside the model its ablation, where that was trained, and the baselines."""
        if isinstance(self.model, ForecastTask):
            self._add(self._forecast_report())
        elif isinstance(self.model, Task) and (report := self.model.report(self.folder.name, self.folder.path)):
            self._add(report)

    def _add(self, callback: Callback) -> None:
        self.trainer.callbacks.append(callback)  # pyright: ignore[reportAttributeAccessIssue]

    def _forecast_report(self) -> Report:
        self.datamodule.setup("test")
        ablation = RunFolder(self.folder.runs, f"{self.folder.name}-no_mixer").read_best()
        return Report(
            self.folder.name,
            self.folder.path,
            season=self._get(self.config, "season") or season_rows(self.datamodule.period_ns),
            ridge_lookback=self._get(self.config, "ridge_lookback"),
            companions={} if ablation is None else {"no_mixer": ablation},
        )

    def after_test(self) -> None:
        """Hand results and pictures to MLflow."""
        logger = self._mlflow()
        if logger is not None and self.trainer.is_global_zero:
            logger.log_file(self.folder.results)
            logger.log_file(self.folder.pictures, "pictures")

    def _mlflow(self) -> MLflow | None:
        return next((each for each in self.trainer.loggers if isinstance(each, MLflow)), None)


def peak_memory() -> str:
    """Return what the GPU's memory came to, as the end of a sentence; nothing on a CPU."""
    if not torch.cuda.is_available():
        return ""
    return f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most on {torch.cuda.get_device_name()}"


def season_rows(period_ns: int) -> int:
    """Return the rows of a day, where rows come more often than daily and fill it evenly; else 1."""
    return DAY_NS // period_ns if period_ns < DAY_NS and DAY_NS % period_ns == 0 else 1


def _without_mixer(config: Any) -> bool:
    """Say whether any part of the recipe has no_mixer true."""
    if hasattr(config, "items"):
        # A Namespace yields its leaves by dotted keys.
        pairs = config.items()
        return any(
            (value is True and key.split(".")[-1] == "no_mixer") or _without_mixer(value) for key, value in pairs
        )
    return isinstance(config, list) and any(_without_mixer(each) for each in config)
