"""The README prints what was measured: its tables are those of docs/results.json."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mambats.results import read_results

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "recipes" / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tables"] = module
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_readme_are_those_of_the_results(tables: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for table in tables.tables(read_results(ROOT / "docs" / "results.json")):
        assert table in readme, "run `python recipes/tables.py docs/results.json` and put the tables into README.md"


def test_every_model_row_has_three_seeds_and_all_windows() -> None:
    windows = {
        ("ETTh1", 96): 2785, ("ETTh1", 192): 2689, ("ETTh1", 336): 2545, ("ETTh1", 720): 2161,
        ("ETTm1", 96): 11425, ("ETTm1", 192): 11329, ("ETTm1", 336): 11185, ("ETTm1", 720): 10801,
    }  # fmt: skip
    rows = read_results(ROOT / "docs" / "results.json")
    for row in rows:
        if (row.source, row.horizon) in windows:
            assert row.windows == windows[row.source, row.horizon]
    seeded = {row.key[:6] + row.key[7:]: set() for row in rows if row.seed is not None}
    for row in rows:
        if row.seed is not None:
            seeded[row.key[:6] + row.key[7:]].add(row.seed)
    assert all(seeds == {0, 1, 2} for seeds in seeded.values())
