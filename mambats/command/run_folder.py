"""The folder of a run: where everything of one recipe lies, and what its last fit left there."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mambats.checkpoint import CheckpointMissingError
from mambats.recipe import RecipeError

_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class LastFit:
    """What the last fit of a run left.

    Args:
        best: Path of the best checkpoint, relative to the run's folder.
        score: Value of what it was chosen by, or None.
        monitor: What it was chosen by.
        mlflow_run: Id of its MLflow run, or None.
        tracking_uri: Where that run lies, or None.
    """

    best: str
    score: float | None = None
    monitor: str | None = None
    mlflow_run: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    Args:
        runs: Folder of all runs.
        name: Name of the run: the recipe's.
    """

    runs: Path
    name: str

    def __post_init__(self) -> None:
        """Check that the name is one of a folder, not a way out of `runs`."""
        if not _NAME.fullmatch(self.name):
            raise RecipeError(f"name is {self.name!r}: a run's name is letters, digits, '_', '-' and '.'. Rename it.")

    @property
    def path(self) -> Path:
        """Folder of this run."""
        return self.runs / self.name

    @property
    def config(self) -> Path:
        """The resolved recipe of the last fit."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Curves of the last fit, a row a step."""
        return self.path / "metrics.csv"

    @property
    def results(self) -> Path:
        """Rows of the last test."""
        return self.path / "results.json"

    @property
    def pictures(self) -> Path:
        """Folder of pictures."""
        return self.path / "pictures"

    def write_fit(self, fit: LastFit) -> None:
        """Note what a fit left."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / ".fit.json.part"
        draft.write_text(json.dumps(asdict(fit), indent=2) + "\n", encoding="utf-8")
        draft.replace(self.path / "fit.json")

    def read_fit(self) -> LastFit | None:
        """Return what the last fit left, or None if there was none."""
        try:
            return LastFit(**json.loads((self.path / "fit.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def read_best(self) -> Path | None:
        """Return the best checkpoint of the last fit, or None if there is none."""
        fit = self.read_fit()
        path = None if fit is None else self.path / fit.best
        return path if path is not None and path.is_file() else None

    def best_checkpoint(self) -> Path:
        """Return the best checkpoint of the last fit.

        Raises:
            CheckpointMissingError: If this recipe was not fitted yet.
        """
        best = self.read_best()
        if best is None:
            raise CheckpointMissingError(
                f"{self.path}: no finished fit lies there. Run `mambats fit` with this recipe first, "
                "or give a checkpoint with --ckpt_path."
            )
        return best
