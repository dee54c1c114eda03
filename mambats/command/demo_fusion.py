"""The fusing half of the demonstration: fit and test a navigator, break its sensors, run it row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mambats.checkpoint import load_task
from mambats.command import recipe
from mambats.command.degrade import degrade

#: Largest difference of position between row by row and one parallel pass, metres.
TOLERANCE = 1e-3
SECONDS = 3.0  # of the drive that is run row by row: more takes longer and shows nothing new


def run(file: Path, runs: str, rest: list[str]) -> int:
    """Fit, test and break the navigator of a recipe, then run it row by row.

    Args:
        file: Recipe of a navigator.
        runs: Folder of all runs.
        rest: Further words of the command line, settings of the recipe.

    Returns:
        1 if row by row differs from the parallel pass, else 0.
    """
    common = ["--config", str(file), "--runs", runs, *rest]
    print(f"fit    mambats fit --config {file}", flush=True)
    folder = recipe.run_recipe(common, "fit").folder
    print(f"test   mambats test --config {file}", flush=True)
    data = recipe.run_recipe(common, "test").datamodule
    checkpoint = folder.best_checkpoint()
    print(f"break  mambats degrade --checkpoint {checkpoint}", flush=True)
    degrade(checkpoint)
    return _row_by_row(load_task(checkpoint).model, data)


@torch.no_grad()
def _row_by_row(model: Any, data: Any) -> int:
    from mambats.odometry.navigation import Navigation
    from mambats.odometry.online import NavigatorRun
    from mambats.odometry.start import drawn_start

    window = data.windows("test").take([0])
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(0))
    parallel, _ = model(window, model.init_state(start))
    run = NavigatorRun(model, Navigation(*(part[0] for part in start)))
    worst, ticks = 0.0, 0
    for stamp, name, values in _rows(window):
        for answer in run.feed(name, stamp, values):
            worst = max(worst, float((answer.estimate.position - parallel.position[0, ticks]).norm()))
            ticks += 1
    verdict = "equal" if worst <= TOLERANCE else "NOT EQUAL"
    print(
        f"{ticks} answers row by row; largest difference of position from one parallel pass: {worst:.1e} m "
        f"(at most {TOLERANCE:.0e}): {verdict}"
    )
    return 0 if worst <= TOLERANCE else 1


def _rows(window: Any) -> list[tuple[int, str, list[float]]]:
    """Return the rows of the first seconds in the order of their stamps."""
    made = list[tuple[int, str, list[float]]]()
    for name, rows in window.streams.items():
        for stamp, values, there in zip(rows.stamps[0], rows.values[0], rows.mask[0], strict=True):
            if bool(there) and int(stamp) < SECONDS * 1e9:
                made.append((int(stamp), name, values.tolist()))
    return sorted(made, key=lambda row: row[0])
