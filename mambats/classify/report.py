"""What a test of a classifier leaves behind: one table, results.json, the confusion matrix."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.classify.baselines import score_baselines
from mambats.classify.metrics import SCORES, confusion
from mambats.classify.task import label_of
from mambats.data.cases import CaseBatch
from mambats.results import Mode, Row, rows_of, seed_of_run, show_results


class ClassifyReport(Callback):
    """Score the model and the simple baselines on the same cases; write and show the result.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self._parts: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget an earlier test."""
        self._parts = []

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: CaseBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep probabilities and labels of a batch."""
        self._parts.append((outputs.cpu(), label_of(batch, pl_module.model.classes).cpu()))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, draw the confusion matrix, print the table."""
        parts = gathered(self._parts, trainer.world_size)
        if not trainer.is_global_zero or not parts:
            return
        data = trainer.datamodule
        probability, label = (torch.cat(each) for each in zip(*parts, strict=True))
        contestants = {self.name: probability}
        if trainer.world_size == 1:
            train, test = data.split("train"), data.split("test")
            contestants |= score_baselines(train, test, pl_module.model.classes)
        mode: Mode = "online" if pl_module.model.encoder.causal else "offline"
        self.rows = []
        for model, stated in contestants.items():
            self.rows += rows_of(
                {metric: SCORES[metric](stated, label) for metric in metrics_of(stated)},
                model=model,
                source=data.name,
                split="test",
                lookback=max(len(case) for case in data.cases["test"]),
                horizon=1,
                windows=len(label),
                seed=seed_of_run() if model == self.name else None,
                mode=mode if model == self.name else "offline",
            )
        show_results(self.folder, self.rows)
        self._draw(confusion(probability, label), pl_module.classes, data.name)

    def _draw(self, counts: Tensor, names: tuple[str, ...], source: str) -> None:
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        from mambats.classify.picture import draw_confusion

        shown = names or tuple(str(each) for each in range(len(counts)))
        path = self.folder / "pictures" / "confusion.png"
        print(f"pictures: {draw_confusion(counts, shown, path, title=f'{self.name}, {source}')}")


def metrics_of(probability: Tensor) -> list[str]:
    """Return the metrics that mean something: one that always states 0 or 1 has no calibration to judge."""
    sure = bool(((probability == 0) | (probability == 1)).all())
    return [metric for metric in SCORES if not sure or metric.endswith("accuracy")]


def gathered(parts: list[tuple[Tensor, Tensor]], processes: int) -> list[tuple[Tensor, Tensor]]:
    """Return the parts of all processes."""
    if processes == 1:
        return parts
    shares: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(processes)]
    torch.distributed.all_gather_object(shares, parts)
    return [part for share in shares for part in share]
