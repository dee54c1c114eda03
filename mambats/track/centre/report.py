"""What a test of a detector leaves behind: one table with the clusters in it, results.json, a picture."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from mambats.results import Row, rows_of, seed_of_run, show_results
from mambats.track.centre.clusters import ClusterDetector
from mambats.track.centre.model import Found
from mambats.track.centre.overlap_precision import OverlapScores
from mambats.track.centre.precision import DetectionScores
from mambats.track.centre.sweeps import SweepBatch

CLUSTERS = "clusters"


class DetectReport(Callback):
    """Score the detector and `ClusterDetector` on the same sweeps; write and show the result.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self._sweeps = 0
        self._drawn: tuple[SweepBatch, Found] | None = None

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        classes = pl_module.model.classes
        self._clusters = ClusterDetector(classes)
        self._scores = {name: (DetectionScores(classes), OverlapScores(classes)) for name in (self.name, CLUSTERS)}
        self._sweeps, self._drawn = 0, None

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: SweepBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score one batch."""
        batch, found = batch.to("cpu"), Found(*(part.cpu() for part in outputs))
        for name, made in ((self.name, found), (CLUSTERS, self._clusters.find(batch.points))):
            for scores in self._scores[name]:
                scores.update(made, batch)
        self._sweeps += len(batch.points)
        self._drawn = batch, found

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, print the table, draw a sweep."""
        if self._drawn is None or not trainer.is_global_zero:
            return
        data = trainer.datamodule
        for name, scores in self._scores.items():
            before = max(data.before) if name == self.name else 0
            self.rows += rows_of(
                scores[0].compute() | scores[1].compute(), model=name, source=data.name, split="test", lookback=before,
                horizon=1, windows=self._sweeps, seed=seed_of_run() if name == self.name else None, mode="online",
            )  # fmt: skip
        show_results(self.folder, self.rows)
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        from mambats.track.centre.picture import plot_sweep

        batch, found = self._drawn
        last = batch.take(slice(-1, None)).to(pl_module.device)
        heat = pl_module.model(last.points, last.images, last.projection).heat[0].detach().sigmoid().cpu()
        path = plot_sweep(batch, found, -1, self.folder / "pictures" / "sweep.png", heat=heat, model=pl_module.model)
        print(f"pictures: {path}")
