"""Keep Lightning's adverts and hints that do not apply off the screen."""

from __future__ import annotations

import logging
import warnings

# Each is true of every run here and asks for nothing the user could better.
_HINTS = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*exists and is not empty.*",
    ".*is smaller than the logging interval.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*`training_step` returned `None`.*",
    ".*skip_none.*",
    ".*It is recommended to use `self.log.*sync_dist=True`.*",
    ".*Be aware that when using `ckpt_path`.*",
    ".*contains `Trainer.callbacks`.*",
    ".*args parameter is intended to run from within Python.*",
)


def quieten() -> None:
    """Show warnings and errors of Lightning and MLflow, not their news; call before a Trainer is made."""
    for name in ("lightning.pytorch", "lightning.fabric", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for hint in _HINTS:
        warnings.filterwarnings("ignore", hint)
