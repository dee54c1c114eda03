"""Fit and test a recipe with several seeds, and put all of them into one table.

    python recipes/seeds.py recipes/fusion/ins_kitti.yaml --seeds 0 1 2 [--runs runs] [--model.init_args.tune 0 ...]

Words that are not known here go to `mambats fit` and `mambats test`. Rows without a seed (baselines) are kept once.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mambats.cli import main as mambats
from mambats.recipe import load_recipe
from mambats.results import Row, merge_rows, read_results, table, write_results


def main() -> None:
    """Read options, fit, test, write one file of rows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recipe", type=Path)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--runs", type=Path, default=Path("runs"))
    given, words_for_mambats = options.parse_known_args()
    name, rows = str(load_recipe(given.recipe).get("name") or given.recipe.stem), list[Row]()
    for seed in given.seeds:
        words = ["--config", str(given.recipe), "--seed_everything", str(seed), *words_for_mambats]
        words += ["--name", f"{name}-{seed}", "--runs", str(given.runs)]
        for command in ("fit", "test"):
            if code := mambats([command, *words]):
                raise SystemExit(code)
        rows = merge_rows(rows, renamed(read_results(given.runs / f"{name}-{seed}" / "results.json"), seed, name))
        write_results(given.runs / f"{name}-seeds.json", rows)
    print(table(rows))


def renamed(rows: list[Row], seed: int, name: str) -> list[Row]:
    """Return rows in which the run of a seed bears the name of the recipe."""
    return [replace(row, model=name) if row.model == f"{name}-{seed}" else row for row in rows]


if __name__ == "__main__":
    main()
