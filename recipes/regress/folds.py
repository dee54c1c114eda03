"""Train and test a recipe on every fold and several seeds, and pool the scores: every engine is tested once a seed.

python recipes/regress/folds.py recipes/regress/fd001.yaml --seeds 0 1 2      (words after -- go to every fit and test)

Prints, for each contestant, root mean square over folds of RMSE, means of the rest, with the deviation over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from mambats.cli import main as mambats
from mambats.results import Row, read_results


def run(recipe: Path, fold: int, seed: int, runs: Path, words: Sequence[str]) -> list[Row]:
    """Return the rows of one fold and seed; what was tested before is not run again."""
    home = runs / f"seed{seed}" / f"fold{fold}"
    results = home / recipe.stem / "results.json"
    if not results.is_file():
        given = ["--config", str(recipe), "--runs", str(home), "--seed_everything", str(seed)]
        given += ["--trainer.logger", "false", "--data.init_args.holdout.init_args.fold", str(fold), *words]
        for command in ("fit", "test"):
            if mambats([command, *given]):
                raise SystemExit(f"{command} failed on fold {fold}, seed {seed}.")
    return read_results(results)


def pooled(metric: str, values: Sequence[float]) -> float:
    """Pool a score over folds: errors as squares."""
    return math.sqrt(fmean(v * v for v in values)) if metric.startswith("rmse") else fmean(values)


def lines(found: dict[int, list[Row]]) -> list[str]:
    """Return the pooled table as text, from the rows of each seed."""
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for rows in found.values():
        folds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for row in rows:
            folds[row.split, row.model, row.metric].append(row.value)
        for key, values in folds.items():
            scores[key].append(pooled(key[2], values))
    text: list[str] = []
    for split in dict.fromkeys(key[0] for key in scores):
        text.append(f"\n{split}")
        for model in dict.fromkeys(key[1] for key in scores if key[0] == split):
            cells = [cell(metric, v) for (s, m, metric), v in scores.items() if (s, m) == (split, model)]
            text.append(f"  {model:<15}" + "  ".join(cells))
    return text


def cell(metric: str, values: Sequence[float]) -> str:
    """Return mean and deviation over seeds."""
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{metric} {fmean(values):.3g}" + (f" ± {spread:.2g}" if spread else "")


def main() -> None:
    """Read the words, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/folds"))
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    found = {
        seed: [row for fold in range(given.folds) for row in run(given.recipe, fold, seed, given.runs, given.words)]
        for seed in given.seeds
    }
    print(f"{given.recipe.stem}: {given.folds} folds, seeds {given.seeds}", *lines(found), sep="\n")


if __name__ == "__main__":
    main()
