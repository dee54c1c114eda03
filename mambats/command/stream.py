"""`mambats stream`: rows in, a forecast after each, one recurrent step at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mambats.bundle.rebuild import checkpoint_engine
from mambats.command.door import UsageError
from mambats.command.stepper import Stepper
from mambats.formats.error import DataError
from mambats.streaming.sinks import ForecastRows
from mambats.streaming.sources import Line, find_columns, read_lines
from mambats.streaming.sources.columns import SERIES_COLUMN
from mambats.streaming.sources.lines import kind_of
from mambats.streaming.sources.rows import opened


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"stream: {message}. See mambats stream --help.")


def run(words: list[str], command: str) -> int:
    """Run the command."""
    given = _parse(words)
    # Refuses models that read fixed windows, before any file is opened for writing.
    engine = checkpoint_engine(given.checkpoint)
    kind = kind_of(given.input, given.format)
    name = "standard input" if given.input == "-" else given.input
    bad = 0
    with opened(given.input) as source:
        lines = read_lines(source, kind, name)
        first = _first(lines, name)
        columns = find_columns(first, engine.facts, given.time, name)
        steppers: dict[str, Stepper] = {}
        out_kind = kind_of(given.output, given.format) if given.output != "-" else kind
        with _writing(given.output) as sink:
            rows = ForecastRows(sink, out_kind, engine.facts.channels, engine.facts.quantiles)
            for line in _progress(_chain(first, lines), given):
                try:
                    if isinstance(line, DataError):
                        raise line
                    stepper = steppers.setdefault(columns.series(line), Stepper(engine, columns))
                    rows.write(_keys(line, columns.time), stepper.push(line))
                except DataError as error:
                    if given.bad_rows == "stop":
                        raise
                    bad += 1
                    print(f"mambats: {error} (row skipped)", file=sys.stderr)
    if bad:
        print(f"mambats: {bad} rows were skipped.", file=sys.stderr)
    return 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _Arguments(prog="mambats stream", description="Read rows, write a forecast after each.")
    parser.add_argument("--checkpoint", required=True, help="checkpoint of a streaming model, from `mambats fit`")
    parser.add_argument("--input", required=True, help="file of rows, or - for standard input")
    parser.add_argument("--output", default="-", help="file of forecasts, or - for standard output (default)")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="format of both; default: by the file's ending")
    parser.add_argument("--time", help="time column; default: found by name, then by content")
    parser.add_argument(
        "--bad_rows",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with a row that cannot be used; the state is the same after either",
    )
    return parser.parse_args(words)


def _first(lines: Iterator[Line | DataError], name: str) -> Line:
    first = next(lines, None)
    if isinstance(first, DataError):
        raise first
    if first is None:
        raise DataError(f"{name}: holds no rows. Give at least one under the header.")
    return first


def _chain(first: Line, lines: Iterator[Line | DataError]) -> Iterator[Line | DataError]:
    yield first
    yield from lines


def _progress(lines: Iterator[Line | DataError], given: argparse.Namespace) -> Iterator[Line | DataError]:
    """Show a count of rows where somebody looks and the forecasts go elsewhere."""
    if given.output == "-" or not sys.stderr.isatty():
        return lines
    from tqdm import tqdm

    return iter(tqdm(lines, unit=" rows", desc="stream", file=sys.stderr))


def _keys(line: Line, time: str | None) -> dict[str, Any]:
    place = {SERIES_COLUMN: line.cells[SERIES_COLUMN]} if SERIES_COLUMN in line.cells else {}
    return {**place, **({time: line.cells.get(time)} if time else {"line": line.number})}


@contextmanager
def _writing(path: str) -> Generator[TextIO]:
    if path == "-":
        yield sys.stdout
        return
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        yield file
