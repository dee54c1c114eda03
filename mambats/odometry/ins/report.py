"""What a test without fixes leaves behind: results.json, one table, and a picture of how errors grow."""

from __future__ import annotations

from abc import abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.odometry.ins.picture import draw_growth
from mambats.results import Row, rows_of, seed_of_run, show_results


class Growth(NamedTuple):
    """What came of one contestant's windows of one length."""

    name: str
    seconds: int
    windows: int
    scores: dict[str, float]
    error: Tensor  #: (W, Q) m, at the end of each second


class GrowthReport(Callback):
    """Let all contestants cross the same windows of every recording; write and show the result.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    title = ""

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []

    @abstractmethod
    def contest(self, task: Any, data: Any, number: int) -> list[Growth]:
        """Return what came of each contestant and length on one recording; the task's model bears `self.name`."""

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, print the table, draw the picture."""
        data, self.rows, pictures = trainer.datamodule, [], list[Path]()
        for number, source in enumerate(data.names):
            # Lightning tests in inference mode, in which a constant bias could not be fitted.
            with torch.inference_mode(False), torch.no_grad():
                made = self.contest(pl_module, data, number)
            for one in made:
                self.rows += rows_of(
                    one.scores, model=one.name, source=source, split="test", lookback=0, horizon=one.seconds,
                    windows=one.windows, seed=seed_of_run() if one.name == self.name else None, mode="online",
                )  # fmt: skip
            pictures += self._draw(made, source)
        show_results(self.folder, self.rows)
        print("pictures: " + ", ".join(map(str, pictures)) if pictures else "matplotlib is not installed: no pictures.")

    def _draw(self, made: list[Growth], source: str) -> list[Path]:
        """Draw the longest windows of one recording."""
        if find_spec("matplotlib") is None or not made:
            return []
        longest = max(one.seconds for one in made)
        errors = {one.name: one.error.double().cpu().numpy() for one in made if one.seconds == longest}
        time = np.arange(1, next(iter(errors.values())).shape[1] + 1, dtype=np.float64)
        path = self.folder / "pictures" / f"{source}.png"
        return [draw_growth(time, errors, path, title=f"{source}. {self.title}")]
