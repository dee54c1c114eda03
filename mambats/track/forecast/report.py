"""What a test of a forecast leaves behind: one table with the baselines in it, results.json, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.results import Row, rows_of, seed_of_run, show_results
from mambats.track.forecast.baselines import baselines
from mambats.track.forecast.batch import Forecast, ForecastBatch
from mambats.track.forecast.metrics import forecast_scores


class ForecastReport(Callback):
    """Score the model and the baselines on the same moments, class by class and horizon by horizon.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self._told = Told()
        self._drawn: tuple[ForecastBatch, Forecast] | None = None

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        self.rows, self._told, self._drawn = [], Told(), None

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: ForecastBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep what is said of a scene."""
        said = baselines(pl_module.model, batch)
        self._told.take(batch, {self.name: outputs} | said)
        if self._drawn is None or int(batch.seen.sum()) > int(self._drawn[0].seen.sum()):
            self._drawn = batch, Forecast(*(part.detach() for part in outputs))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, print the table, draw a moment."""
        if self._drawn is None or not trainer.is_global_zero:
            return
        model, data = pl_module.model, trainer.datamodule
        self.rows = self._told.rows(data.name, self.name, model.classes, model.horizons, data.period_ns, seed_of_run())
        show_results(self.folder, self.rows)
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        from mambats.track.forecast.picture import plot_moment

        print(f"pictures: {plot_moment(*self._drawn, self.folder / 'pictures' / 'forecast.png')}")


class Told:
    """Forecasts by several models of the same moments, and what came."""

    def __init__(self) -> None:
        self._said: dict[str, list[Forecast]] = {}
        self._truth, self._asked, self._labels = list[Tensor](), list[Tensor](), list[Tensor]()

    def take(self, batch: ForecastBatch, said: dict[str, Forecast]) -> None:
        """Keep the forecasts (N, T, K, H) of a batch that count at any horizon."""
        rows = batch.asked.any(-1)
        for name, one in said.items():
            self._said.setdefault(name, []).append(Forecast(*(part[rows].detach().cpu() for part in one)))
        self._truth.append(batch.truth[rows].cpu())
        self._asked.append(batch.asked[rows].cpu())
        self._labels.append(batch.labels[:, None].expand(rows.shape)[rows].cpu())

    def kept(self) -> dict[str, Any]:
        """Return all of it as plain tensors, for a file."""
        said = {name: [tuple(part) for part in parts] for name, parts in self._said.items()}
        return {"said": said, "truth": self._truth, "asked": self._asked, "labels": self._labels}

    @staticmethod
    def joined(parts: Sequence[dict[str, Any]]) -> Told:
        """Return what several kept, as one: of sequences that were each forecast by a model of its own."""
        made = Told()
        for part in parts:
            for name, said in part["said"].items():
                made._said.setdefault(name, []).extend(Forecast(*one) for one in said)
            made._truth += part["truth"]
            made._asked += part["asked"]
            made._labels += part["labels"]
        return made

    def rows(
        self,
        source: str,
        own: str,
        classes: Sequence[str],
        horizons: Sequence[float],
        period: int,
        seed: int | None,
    ) -> list[Row]:
        """Return the rows of all models: of each class and horizon, online.

        Args:
            source: Name of the data; a row's is that and the class.
            own: The model that was trained, which has a seed.
            classes: Names.
            horizons: Seconds.
            period: Nanoseconds of a frame: a row's horizon is in frames.
            seed: Of the run.
        """
        truth, asked, labels = (torch.cat(one) for one in (self._truth, self._asked, self._labels))
        made = list[Row]()
        for label, kind in enumerate(classes):
            here = labels == label
            for name, said in self._said.items():
                forecast = Forecast(*(torch.cat(parts)[here] for parts in zip(*said, strict=True)))
                for step, scores in enumerate(forecast_scores(forecast, truth[here], asked[here])):
                    made += rows_of(
                        scores, model=name, source=f"{source} {kind}", split="test", lookback=0,
                        horizon=max(1, round(horizons[step] * 1e9 / period)), windows=int(asked[here][:, step].sum()),
                        seed=seed if name == own else None, mode="online",
                    )  # fmt: skip
        return [row for row in made if row.windows]
