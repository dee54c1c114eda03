"""`mambats report`: one page of HTML of a run, to read anywhere and to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from mambats.command.door import UsageError
from mambats.results import write_whole


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"report: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `report`: gather what a run left, write the page whole or not at all."""
    given = _parser().parse_args(words)
    from mambats.command.report_page import page_of

    page, told = page_of(given.source, given.title)
    content = page.html().encode()
    print(f"{write_whole(given.output, content)}: {told}; {len(content) / 1e6:.1f} MB, needs no network")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(prog="mambats report", description="Write one self-contained HTML page of a run.")
    parser.add_argument(
        "source", type=Path, metavar="RUN_FOLDER|COUNTERS_JSON",
        help="folder of `mambats run --log`, or of `mambats fit` and `test` (runs/NAME), or a file of counters",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="page to write, FILE.html")
    parser.add_argument("--title", default="", help="above the page; default: the folder's name")
    return parser
