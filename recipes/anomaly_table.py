"""Show detectors trained with several seeds in one table.

for seed in 0 1 2; do
    mambats fit  --config recipes/anomaly/nab.yaml --seed_everything $seed --name nab_$seed
    mambats test --config recipes/anomaly/nab.yaml --seed_everything $seed --name nab_$seed
done
python recipes/anomaly_table.py runs/nab_*/results.json

A run named after its seed stands under the name without it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mambats.results import Row, merge_rows, read_results, table


def unseeded(row: Row) -> Row:
    """Return the row under the recipe's name: nab_1-no_mixer of seed 1 is nab-no_mixer."""
    return replace(row, model=row.model.replace(f"_{row.seed}", ""))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of each run")
    parser.add_argument("--series", action="store_true", help="every series instead of the whole corpus")
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    rows = merge_rows(*([unseeded(row) for row in read_results(path)] for path in chosen.results))
    print(table((row for row in rows if ("/" in row.source) == chosen.series), markdown=chosen.markdown))


if __name__ == "__main__":
    main()
