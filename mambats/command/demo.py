"""`mambats demo`: a forecaster of weather and a fusion of sensors, each trained, scored and run step by step."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mambats.command import demo_forecast
from mambats.command.door import UsageError

PARTS = ("forecast", "fusion")


def run(words: list[str], command: str) -> int:
    """Run the demonstration; exit code 1 if a run step by step differs from the parallel pass."""
    parser = argparse.ArgumentParser(prog="mambats demo", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all", help="which half; default: both")
    parser.add_argument("--recipe", default=None, help="recipe of a streaming forecaster; default: the embedded one")
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--rows", type=int, default=demo_forecast.ROWS, help="rows to stream")
    given, rest = parser.parse_known_args(words)
    began, worst = time.monotonic(), 0
    if given.part != "fusion":
        file = Path(given.recipe) if given.recipe else find_recipe("forecast/demo.yaml")
        worst = demo_forecast.run(file, given.runs, rest, given.rows)
    if given.part != "forecast":
        from mambats.command import demo_fusion

        worst = max(worst, demo_fusion.run(find_recipe("fusion/demo.yaml"), given.runs, rest))
    print(f"the demonstration took {time.monotonic() - began:.0f} s")
    return worst


def find_recipe(name: str) -> Path:
    """Return a recipe's file: beside the source, or in the wheel.

    Raises:
        UsageError: If it is in neither place.
    """
    package = Path(__file__).parents[1]
    for root in (package.parent / "recipes", package / "recipes"):
        if (root / name).is_file():
            return root / name
    raise UsageError(f"the recipe {name} is not beside the package. Reinstall mambats, or give --recipe FILE.")
