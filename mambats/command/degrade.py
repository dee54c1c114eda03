"""`mambats degrade`: what each broken sensor costs a navigator, beside the filter and its blind twins."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from mambats.command.door import UsageError
from mambats.command.setup import settle_threads
from mambats.results import Row, rows_of, write_results


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"degrade: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `degrade`: read the checkpoint and its run's test drives, break one sensor at a time, print the table."""
    given = _parser().parse_args(words)
    settle_threads()
    degrade(given.checkpoint, given.config, drives=given.drives, seed=given.seed)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(prog="mambats degrade", description="Break one sensor at a time and score what is left.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="of a navigator, as `mambats fit` wrote it")
    parser.add_argument("--config", type=Path, help="recipe whose test drives are taken; default: that of the run")
    parser.add_argument("--drives", type=int, default=64, help="test drives at most (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="of starts and of the axes of miscalibration")
    return parser


def degrade(checkpoint: Path, config: Path | None = None, *, drives: int = 64, seed: int = 0) -> list[Row]:
    """Score a navigator under every standard fault; print the table, write degradation.json and a picture.

    Args:
        checkpoint: Of an `OdometryTask`.
        config: Recipe whose test windows are taken; None for the config.yaml of the checkpoint's run.
        drives: Windows at most.
        seed: Of starts and axes.

    Returns:
        The rows written to the run's folder, metrics named FAULT: METRIC.

    Raises:
        UsageError: If the checkpoint is no navigator's, or there is no recipe.
    """
    from mambats.checkpoint import load_task
    from mambats.odometry.degrade import degradation
    from mambats.odometry.task import OdometryTask

    task = load_task(checkpoint)
    if not isinstance(task, OdometryTask):
        raise UsageError(f"{checkpoint} holds a {type(task).__name__}: degrade takes a navigator's (OdometryTask).")
    folder = checkpoint.resolve().parent.parent
    data, name = _data_of(config or folder / "config.yaml", checkpoint)
    windows = data.windows("test")
    windows = windows.take(range(min(drives, len(windows))))
    found = degradation(task.model, windows, seed, name)
    print(f"{data.name}: RMSE of position in metres over {len(windows)} test drives of {data.length:g} s, online")
    print(found.text())
    rows = list[Row]()
    for fault, by_name in found.scores.items():
        for contestant, values in by_name.items():
            rows += rows_of(
                {f"{fault}: {metric}": value for metric, value in values.items()}, model=contestant, source=data.name,
                split="test", lookback=0, horizon=1, windows=len(windows), seed=seed, mode="online",
            )  # fmt: skip
    print(f"rows: {write_results(folder / 'degradation.json', rows)}")
    if find_spec("matplotlib") is not None:
        from mambats.pictures.trajectory import draw_degradation

        pictures = folder / "pictures"
        paths = [draw_degradation(found.positions(), pictures / "degradation.png")]
        paths += _draw_worst(task.model, windows.take([0]), seed, name, pictures / "imu_stuck")
        print("pictures: " + ", ".join(str(path) for path in paths))
    return rows


def _draw_worst(model: Any, window: Any, seed: int, name: str, folder: Path) -> list[Path]:
    """Draw the first drive with the inertial unit stuck from a third on: what throws a filter off most."""
    from torch import Generator

    from mambats.odometry import Fault, hold_contest
    from mambats.odometry.report import draw_drive
    from mambats.odometry.start import drawn_start

    broken = Fault("stuck", "imu", begin=1 / 3)(window, Generator().manual_seed(seed + 1))
    start = drawn_start(window, model.deviations, Generator().manual_seed(seed))
    return draw_drive(hold_contest(model, broken, start, name), broken, name, folder)


def _data_of(recipe: Path, checkpoint: Path) -> tuple[Any, str]:
    """Build the data module that a recipe names; return it with the recipe's name."""
    from jsonargparse import ArgumentParser
    from lightning.pytorch import LightningDataModule

    from mambats.recipe import load_recipe

    if not recipe.is_file():
        raise UsageError(
            f"{recipe}: there is no such recipe beside {checkpoint}. Give the one it was trained with: --config RECIPE."
        )
    content = load_recipe(recipe)
    if not isinstance(content.get("data"), dict):
        raise UsageError(f"{recipe} names no data: give a recipe with a `data` section.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    # jsonargparse 4.49 renamed it and warns about the old name.
    build: Any = getattr(parser, "instantiate", None) or parser.instantiate_classes
    made: Any = build(parser.parse_object({"data": content["data"]}))
    data = made.data
    if not hasattr(data, "windows"):
        raise UsageError(f"{recipe}: {type(data).__name__} gives no windows of sensors: take a SensorDataModule.")
    return data, str(content.get("name") or "navigator")
