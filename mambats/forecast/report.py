"""What a test run leaves behind: one table, results.json, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.checkpoint import load_task
from mambats.forecast.baselines import Baseline, Ridge, fit_baselines
from mambats.forecast.cycle import Cycle
from mambats.forecast.metrics import seasonal_naive_error
from mambats.forecast.scoreboard import Scoreboard, WithoutCycle, forecast_baselines, less_cycle
from mambats.results import Mode, Row, rows_of, seed_of_run, show_results
from mambats.series import Window

# Elements of one batch of training windows that ridge reads: 32 MB in float64.
RIDGE_BATCH = 4_000_000


@dataclass(frozen=True)
class Sample:
    """One test window kept for a picture, in scaled units; shapes (L + K, C) and (K, C[, Q])."""

    values: Tensor
    forecast: Tensor
    window: Window


class Report(Callback):
    """Score the model, its ablation and the simple baselines on the same windows; write and show the result.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
        season: Rows in a season, for the seasonal naive forecast and MASE.
        ridge_lookback: Rows ridge reads; None is the data's lookback.
        companions: Checkpoints of further models to score beside this one, by name (`no_mixer`).
        samples: Test windows to draw.
    """

    def __init__(
        self,
        name: str,
        folder: str | Path,
        season: int = 24,
        ridge_lookback: int | None = None,
        companions: Mapping[str, str | Path] | None = None,
        samples: int = 3,
    ) -> None:
        super().__init__()
        self.name, self.folder, self.season = name, Path(folder), season
        self.ridge_lookback, self.companions, self.samples = ridge_lookback, companions, samples
        self.rows: list[Row] = []
        self.board: Scoreboard | None = None
        self.kept: list[Sample] = []
        self._baselines: Mapping[str, Baseline] = {}
        self._others: dict[str, Any] = {}

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Fit the baselines on the training windows and load the companions."""
        data = trainer.datamodule
        self.kept = []
        self._baselines = self._fit_baselines(data, pl_module.model.cycle)
        self._others = {name: load_task(path).to(pl_module.device) for name, path in (self.companions or {}).items()}
        for other in self._others.values():
            other.on_test_epoch_start()
        quantiles = {self.name: pl_module.model.quantiles}
        quantiles |= {name: other.model.quantiles for name, other in self._others.items()}
        quantiles |= dict.fromkeys(self._baselines)
        self.board = Scoreboard(quantiles, naive_errors(data, self.season), data.horizon)
        total = len(data.windows("test"))
        self._wanted = {int(i) for i in np.linspace(0, total - 1, self.samples + 2)[1:-1]}

    @torch.no_grad()
    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Window, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score one batch for every contestant."""
        if self.board is None:
            return
        forecasts = {self.name: outputs}
        forecasts |= {name: other.test_forecast(batch) for name, other in self._others.items()}
        forecasts |= forecast_baselines(self._baselines, batch)
        for index in sorted(i - self.board.windows for i in self._wanted):
            if 0 <= index < len(batch):
                self.kept.append(Sample(batch.values[index].cpu(), outputs[index].cpu(), one_window(batch, index)))
        self.board.add(forecasts, batch)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, draw the pictures, print the table."""
        if self.board is None:
            return
        # Every process takes part in adding up; only then may the others leave.
        self.rows = self._rows(trainer.datamodule, "online" if pl_module.model.streams else "offline")
        curves = self.board.by_step()
        if not trainer.is_global_zero:
            return
        show_results(self.folder, self.rows)
        self._draw(trainer, pl_module, curves)

    def _fit_baselines(self, data: Any, cycle: Cycle | None) -> dict[str, Baseline]:
        windows = training_windows(data, self.ridge_lookback)
        baselines: dict[str, Baseline] = dict(fit_baselines(windows, self.season, ridge_lookback=self.ridge_lookback))
        if cycle is not None:
            # Fitted where the training windows lie, on the CPU; the model's own cycle may be on a GPU.
            course = deepcopy(cycle).cpu()
            windows = (less_cycle(w, course) for w in training_windows(data, self.ridge_lookback))
            baselines["ridge_cycle"] = WithoutCycle(Ridge(lookback=self.ridge_lookback).fit(windows), cycle)
        return baselines

    def _draw(self, trainer: Any, task: Any, curves: Mapping[str, list[float]]) -> None:
        data = trainer.datamodule
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        plots = import_module("mambats.plots")
        folder, title = self.folder / "pictures", f"{self.name}, {data.name}"
        views: list[Any] = []
        for number, sample in enumerate(self.kept):
            channel = (len(data.channels) - 1 - number) % len(data.channels)
            window = sample.window
            views.append(
                plots.view_of(
                    sample.values,
                    sample.forecast,
                    channel,
                    deepcopy(task.scaler).cpu(),
                    quantiles=task.model.quantiles,
                    observed=None if window.observed is None else window.observed[0],
                    others={"ridge": self._baselines["ridge"].forecast(window)[0]},
                    stamps=data.window_stamps(window, "test")[0],
                )
            )
        paths = [plots.draw_forecasts(views, folder / "forecasts.png", title=title)] if views else []
        paths.append(
            plots.draw_error_by_horizon(curves, folder / "error_by_horizon.png", period_ns=data.period_ns, title=title)
        )
        with suppress(FileNotFoundError, ValueError):  # A checkpoint from elsewhere comes without its curves.
            paths.append(plots.draw_training(self.folder / "metrics.csv", folder / "training.png", title=title))
        print("pictures: " + ", ".join(str(path) for path in paths))

    def _rows(self, data: Any, mode: Mode) -> list[Row]:
        if self.board is None:
            return []
        windows = self.board.total()
        rows: list[Row] = []
        for model, values in self.board.values().items():
            rows += rows_of(
                values,
                model=model,
                source=data.name,
                split="test",
                lookback=(self.ridge_lookback or data.lookback) if model.startswith("ridge") else data.lookback,
                horizon=data.horizon,
                windows=windows,
                seed=seed_of_run() if model not in self._baselines else None,
                mode=mode,
            )
        return rows


def training_windows(data: Any, lookback: int | None = None) -> Iterator[Window]:
    """Yield every training window once, in order, in batches of bounded size."""
    windows = data.windows("train", lookback=lookback)
    each = (windows.lookback + windows.horizon) * len(data.channels)
    size = max(1, RIDGE_BATCH // each)
    for begin in range(0, len(windows), size):
        yield windows[np.arange(begin, min(begin + size, len(windows)))]


def naive_errors(data: Any, season: int) -> Tensor:
    """Return the scale of MASE in scaled units: (C,) for one series, (S, C) for many."""
    scale = data.scaler.scale.double()
    errors: list[Tensor] = []
    for series in range(len(data.panel)):
        values = torch.from_numpy(np.ascontiguousarray(data.train_values(series)))
        observed = values.isfinite()
        errors.append(seasonal_naive_error(values, season, None if observed.all() else observed) / scale)
    return errors[0] if len(errors) == 1 else torch.stack(errors)


def one_window(batch: Window, index: int) -> Window:
    """Return one window of a batch, on the CPU, as a batch of one."""
    return batch.take([index]).to("cpu")
