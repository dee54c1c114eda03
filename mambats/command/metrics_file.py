"""Training curves in one CSV file, written without harming those of the run before until there is something new."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

# Seconds between two writes; the file is small, but a step may take a millisecond.
PAUSE = 2.0


class MetricsFile(Logger):
    """Log metrics to a CSV file: a row a step, columns in order of appearance.

    Lightning's CSVLogger deletes the old file before the data is even read, so a mistyped path would cost the
    curves of the last good run. Here the first row of the new run replaces it.

    Args:
        path: The file.
        resume: Go on with what the file holds, for a fit that starts from a checkpoint.
    """

    def __init__(self, path: str | Path, resume: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = _read(self.path) if resume else []
        self.written = 0.0

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """A file has none."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing: config.yaml holds the recipe."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add metrics of a step; those of one step share a row."""
        row = {"step": step, **{name: float(value) for name, value in metrics.items()}}
        last = self.rows[-1] if self.rows else {}
        if last.get("step") == step and not (set(last) & set(row) - {"step", "epoch"}):
            last.update(row)
        else:
            self.rows.append(row)

    @rank_zero_only
    def save(self) -> None:
        """Write the file if the last time is long enough ago."""
        if self.rows and time.monotonic() - self.written > PAUSE:
            self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        if self.rows:
            self._write()

    def _write(self) -> None:
        self.written = time.monotonic()
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.part")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        draft.replace(self.path)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: int(cell) if name == "step" else float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(file)
        ]
