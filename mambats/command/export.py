"""`mambats export`: a checkpoint as a bundle that runs without torch."""

from __future__ import annotations

import argparse
from typing import NoReturn

from mambats.bundle import read_bundle
from mambats.bundle.loss import told
from mambats.bundle.weights import STORED
from mambats.command.door import UsageError


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"export: {message}. See mambats export --help.")


def run(words: list[str], command: str) -> int:
    """Run the command."""
    parser = _Arguments(prog="mambats export", description="Write a bundle that runs without torch, verified.")
    parser.add_argument("--checkpoint", required=True, help="of a streaming forecaster or a navigator")
    parser.add_argument("--output", required=True, help="folder of the bundle; must not be there yet")
    parser.add_argument("--no_prefill", action="store_true", help="leave out the graph of many rows")
    parser.add_argument("--licence", default="", help="licence of the weights, for the model card")
    parser.add_argument("--purpose", default="", help="intended use, for the model card")
    parser.add_argument(
        "--weights", choices=STORED, default="float32", help="how matrices are stored; the loss is printed"
    )
    parser.add_argument("--recipe", help="the run's config.yaml: measure the loss of --weights on its test rows too")
    given = parser.parse_args(words)
    from mambats.bundle.export import export

    found = export(
        given.checkpoint, given.output, prefill=not given.no_prefill, licence=given.licence, purpose=given.purpose,
        stored=given.weights, recipe=given.recipe,
    )  # fmt: skip
    print(f"bundle   {given.output}")
    for route, difference in found.items():
        print(f"{route:<13}differs from the model by {difference:.1e} of the largest number (at most 1e-5)")
    for line in told(read_bundle(given.output).config.get("weights") or {}):
        print(f"weights  {line}")
    print(f"run      mambats run --bundle {given.output} --source ROWS --sink ANSWERS")
    return 0
