"""A tiny table and recipe for the tests of the command line: seconds on one core."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

RECIPE = """
model:
  class_path: mambats.forecast.ForecastTask
  init_args:
    model:
      class_path: mambats.forecast.Forecaster
      init_args:
        encoder:
          class_path: mambats.encoders.CausalEncoder
          init_args: {channels: 1, width: 8, layers: 1}
        head:
          class_path: mambats.forecast.DirectHead
          init_args: {width: 8, horizon: 4}
        norm:
          class_path: mambats.scale.RunningNorm
        cycle:
          class_path: mambats.forecast.Cycle
          init_args: {period: 24, channels: 2}
data:
  class_path: mambats.data.WindowDataModule
  init_args:
    source:
      class_path: mambats.data.Table
      init_args: {path: TABLE}
    lookback: 24
    horizon: 4
    batch_size: 64
trainer:
  max_epochs: 1
  accelerator: cpu
"""


def write_table(path: Path, rows: int = 400) -> None:
    rng = np.random.default_rng(0)
    turns = 2 * np.pi * np.arange(rows) / 24
    table = np.stack([np.sin(turns), 10 + 3 * np.cos(turns)], 1) + 0.1 * rng.standard_normal((rows, 2))
    start = datetime(2020, 1, 1)
    lines = [f"{start + timedelta(hours=i)},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(table)]
    path.write_text("\n".join(["date,a,b", *lines]) + "\n")


def write_run(folder: Path, name: str = "tiny") -> Path:
    """Write table.csv and a recipe into a folder; return the recipe."""
    write_table(folder / "table.csv")
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPE.replace("TABLE", str(folder / "table.csv")))
    return recipe
