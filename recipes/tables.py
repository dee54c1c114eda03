"""Write the README's tables from result rows, so that no figure stands there that was not measured.

python recipes/tables.py docs/results.json                      print the tables
python recipes/tables.py docs/results.json --add runs/*/results.json   put further rows in first
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from mambats.results import Row, merge_rows, read_results, write_results

#: Recipe (its rows carry the names after it), title, rows of the table.
TABLES = (
    ("etth1_", "ETTh1, lookback 96", ("etth1_*", "no_mixer", "ridge", "ridge_cycle", "seasonal_naive", "last_value")),
    (
        "etth1_stream",
        "ETTh1, online",
        ("etth1_stream", "no_mixer", "ridge", "ridge_cycle", "seasonal_naive", "last_value"),
    ),
    (
        "ettm1_long",
        "ETTm1, online, context 8,192",
        ("ettm1_long", "ridge", "ridge_cycle", "seasonal_naive", "last_value"),
    ),
    (
        "beijing",
        "Beijing PM2.5",
        ("beijing_pm25", "beijing_pm25_filled", "ridge", "ridge_cycle", "seasonal_naive", "last_value"),
    ),
)


def pick(rows: Sequence[Row], table: str, model: str, horizon: int, metric: str) -> str:
    """Return mean and spread over seeds of one cell, or a dash."""
    values = [r.value for r in rows if wanted(r, table, model) and (r.horizon, r.metric) == (horizon, metric)]
    if not values:
        return "-"
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.3f}" + (f" ± {spread:.3f}" if spread >= 5e-5 else "")


def wanted(row: Row, table: str, model: str) -> bool:
    """Say whether a row belongs to a line of a table."""
    places = {
        "etth1_": row.source == "ETTh1" and row.mode == "offline",
        "etth1_stream": row.source == "ETTh1" and row.mode == "online",
        "ettm1_long": row.source == "ETTm1",
        "beijing": row.source == "beijing_pm25",
    }
    named = row.model == f"etth1_{row.horizon}" if model == "etth1_*" else row.model == model
    return places[table] and named


def markdown(rows: Sequence[Row], table: str, title: str, models: Sequence[str]) -> str:
    """Return one table: models down, MSE / MAE at each horizon across."""
    mine = [row for row in rows if any(wanted(row, table, model) for model in models)]
    horizons = sorted({row.horizon for row in mine})
    windows = {h: max(row.windows for row in mine if row.horizon == h) for h in horizons}
    head = [f"{title}: MSE / MAE", *(f"{h} ({windows[h]:,} windows)" for h in horizons)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for model in models:
        cells = [f"{pick(mine, table, model, h, 'mse')} / {pick(mine, table, model, h, 'mae')}" for h in horizons]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> list[str]:
    """Return all tables of the README."""
    return [markdown(rows, *table) for table in TABLES]


def main() -> None:
    """Read the arguments, add rows, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--add", nargs="+", type=Path, default=[])
    given = parser.parse_args()
    rows = read_results(given.results) if given.results.exists() else []
    for file in given.add:
        rows = merge_rows(rows, read_results(file))
    if given.add:
        write_results(given.results, rows)
    print("\n\n".join(tables(rows)))


if __name__ == "__main__":
    main()
