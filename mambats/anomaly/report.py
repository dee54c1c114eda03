"""What a test of a detector leaves behind: one table with the baselines, results.json, a picture of every series."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.anomaly.baselines import Baseline, all_baselines
from mambats.anomaly.data import LabelledSeries
from mambats.anomaly.detector import Detected, Detector
from mambats.anomaly.picture import draw_series
from mambats.anomaly.scoreboard import Judged, corpus_scores, series_scores
from mambats.results import Mode, Row, rows_of, seed_of_run, table, write_results


class Report(Callback):
    """Judge the model and the baselines on the same series with the same calibration and threshold.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self.judged: dict[str, list[Judged]] = {}

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Start anew."""
        self.judged, self.rows = {self.name: []}, []
        self._baselines: Mapping[str, Baseline] = all_baselines(seed_of_run() or 0)
        self._found: list[Detected] = []

    def on_test_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: LabelledSeries,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what the model said of one series, and ask the baselines."""
        series, detector = batch.to("cpu"), pl_module.model
        self._found.append(outputs)
        self.judged[self.name].append(Judged(series, *(said[0].cpu() for said in outputs[:4])))
        for name, baseline in self._baselines.items():
            one = judge_baseline(baseline.surprise(series), series, detector)
            self.judged.setdefault(name, []).append(one)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, print the table, draw the pictures."""
        if not trainer.is_global_zero or not self.judged[self.name]:
            return
        self.rows = self._rows(pl_module.model.scorer.mode, trainer.datamodule)
        write_results(self.folder / "results.json", self.rows)
        print(table(row for row in self.rows if row.source == trainer.datamodule.name))
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        folder = self.folder / "pictures"
        paths = [
            draw_series(one, found.surprise, folder / f"{one.series.name}.png", pl_module.model.threshold, self.name)
            for one, found in zip(self.judged[self.name], self._found, strict=True)
        ]
        print("pictures: " + ", ".join(str(path) for path in paths))

    def _rows(self, mode: Mode, data: Any) -> list[Row]:
        """Return one row a detector and metric, over the corpus and for each series."""
        rows: list[Row] = []
        for name, judged_series in self.judged.items():
            scores = [series_scores(one) for one in judged_series]
            each = [(data.name, corpus_scores(judged_series, scores), judged_series)]
            each += [
                (f"{data.name}/{one.series.name}", values, [one])
                for one, values in zip(judged_series, scores, strict=True)
            ]
            for source, values, judged in each:
                rows += rows_of(
                    values,
                    model=name,
                    source=source,
                    split="test",
                    lookback=data.lookback if name == self.name else 0,
                    horizon=1,
                    windows=sum(len(one.score) - one.series.begin for one in judged),
                    seed=seed_of_run() if name in (self.name, "isolation_forest", "noise") else None,
                    mode=mode if name == self.name else "online",
                )
        return rows


def judge_baseline(surprise: Tensor, series: LabelledSeries, detector: Detector) -> Judged:
    """Return a baseline's surprises (T,) through the detector's own calibrations, threshold and rest."""
    found, _ = detector.judge(surprise[None].double(), series.rows.seen.any(-1).cpu())
    return Judged(series, *(said[0] for said in found))
