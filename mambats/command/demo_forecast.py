"""The forecasting half of the demonstration: fit, test and stream a model, and hold the stream to one parallel pass."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mambats.checkpoint import load_task, read_entry
from mambats.checkpoint.file import read_checkpoint
from mambats.command import recipe, stream
from mambats.command.run_folder import RunFolder
from mambats.forecast.metrics import point_forecast
from mambats.forecast.model import Rows
from mambats.series import Stamps

#: Largest difference between stream and parallel pass, in scaled units.
TOLERANCE = 1e-5
#: Rows streamed: the last ones of the data. More take longer and show nothing new.
ROWS = 500


def run(file: Path, runs: str, rest: list[str], rows: int = ROWS) -> int:
    """Fit, test and stream the model of a recipe.

    Args:
        file: Recipe of a streaming model.
        runs: Folder of all runs.
        rest: Further words of the command line, settings of the recipe.
        rows: Rows to stream.

    Returns:
        1 if the stream differs from the parallel pass, else 0.
    """
    common = ["--config", str(file), "--runs", runs, *rest]
    print(f"fit    mambats fit --config {file}", flush=True)
    folder = recipe.run_recipe(common, "fit").folder
    print(f"test   mambats test --config {file}", flush=True)
    data = recipe.run_recipe(common, "test").datamodule
    return _stream(folder, data, rows)


def _stream(folder: RunFolder, data: Any, count: int) -> int:
    checkpoint = folder.best_checkpoint()
    rows, forecasts = folder.path / "rows.csv", folder.path / "forecasts.csv"
    stamps, values = _last_rows(data, count)
    write_rows(rows, data.channels, stamps, values)
    words = ["--checkpoint", str(checkpoint), "--input", str(rows), "--output", str(forecasts)]
    print(f"stream mambats stream {' '.join(words)}", flush=True)
    stream.run(words, "stream")
    streamed = _read_forecasts(forecasts, len(data.channels))
    parallel, scale = parallel_forecasts(checkpoint, stamps, values)
    error = float(np.max(np.abs(streamed - parallel) / scale))
    verdict = "equal" if error <= TOLERANCE else "NOT EQUAL"
    print(
        f"{len(stamps)} rows streamed to {forecasts}; largest difference from one parallel pass: {error:.1e} "
        f"(scaled units, at most {TOLERANCE:.0e}): {verdict}"
    )
    fit = folder.read_fit()
    if fit is not None and fit.mlflow_run:
        print(f"MLflow run {fit.mlflow_run}; to look at it: mlflow ui --backend-store-uri {fit.tracking_uri}")
    return 0 if error <= TOLERANCE else 1


def write_rows(path: Path, channels: tuple[str, ...], stamps: Stamps, values: npt.NDArray[np.float32]) -> None:
    """Write rows (T, C) as CSV, empty where not measured; nine digits bring a float32 back exactly."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ds", *channels])
        for stamp, row in zip(stamps, values, strict=True):
            cells = ["" if math.isnan(value) else f"{value:.9g}" for value in row]
            table.writerow([str(stamp.astype("datetime64[ns]").astype("datetime64[us]")), *cells])


@torch.no_grad()
def parallel_forecasts(
    checkpoint: Path, stamps: Stamps, values: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Forecast after every row in one pass: point forecasts (T, K, C) in the data's units, and the scale (C,)."""
    task = load_task(checkpoint)
    period = read_entry(read_checkpoint(checkpoint), checkpoint).period_ns
    raw = torch.from_numpy(values)[None]
    observed = raw.isfinite()
    gaps = np.diff(stamps, prepend=stamps[0] - period) / period
    rows = Rows(
        torch.where(observed, task.scaler.transform(raw), 0.0),
        torch.from_numpy(gaps.astype(np.float32))[None],
        observed,
        clock=torch.from_numpy(stamps // period)[None],
    )
    forecast, _ = task.model.roll(rows, task.model.init_state(1, values.shape[1]))
    points = task.scaler.inverse(point_forecast(forecast, task.model.quantiles))
    return points[0].double().numpy(), task.scaler.scale.double().numpy()


def _last_rows(data: Any, count: int) -> tuple[Stamps, npt.NDArray[np.float32]]:
    rows = data.panel.rows(0)
    rows = slice(max(rows.start, rows.stop - count), rows.stop)
    return data.panel.stamps[rows], np.ascontiguousarray(data.panel.values[:, rows].T)


def _read_forecasts(path: Path, channels: int) -> npt.NDArray[np.float64]:
    """Return point forecasts (T, K, C) of a file that `mambats stream` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.reader(file)
        header = next(table)
        points = [index for index, name in enumerate(header) if "_h" in name and "_q" not in name]
        numbers = np.array([[float(row[index]) for index in points] for row in table])
    return numbers.reshape(len(numbers), channels, -1).transpose(0, 2, 1)
