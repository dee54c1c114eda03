"""What is written down about a run: its resolved recipe, the data's fingerprint, the parameters."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mambats.command.run_folder import RunFolder
from mambats.experiment import MLflow


class Record(Callback):
    """Write config.yaml once a first step was taken, so that a mistake leaves an earlier run's file alone.

    Args:
        folder: The run's folder.
        config: The resolved recipe as YAML.
    """

    def __init__(self, folder: RunFolder, config: str) -> None:
        self.folder, self.config, self.written = folder, config, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the files and describe the run in MLflow, once a first step has shown that the recipe works."""
        if self.written or not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        self.written = True
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.config.write_text(self.config, encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, MLflow):
                logger.log_hyperparams(self._parameters())
                logger.log_tags(_facts(getattr(trainer, "datamodule", None)))
                logger.log_file(self.folder.config)

    def _parameters(self) -> dict[str, Any]:
        import yaml

        content = yaml.safe_load(self.config)
        return {key: content[key] for key in ("model", "data", "seed_everything") if key in content}


def _facts(data: Any) -> dict[str, str]:
    facts = {"source": getattr(data, "name", ""), "data_fingerprint": getattr(data, "fingerprint", "")}
    return {key: str(value) for key, value in facts.items() if value}
