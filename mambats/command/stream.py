"""`mambats stream`: rows in, a forecast after each, one recurrent step at a time."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np
import numpy.typing as npt

from mambats.checkpoint import load_task, read_checkpoint
from mambats.command.door import UsageError
from mambats.command.lines import Kind, Line, is_time, kind_of, read_lines
from mambats.command.stepper import Inputs, Stepper
from mambats.forecast.metrics import point_forecast
from mambats.formats.error import DataError

#: Names of a time column, tried before looking at the cells.
TIME_NAMES = ("ds", "date", "datetime", "time", "timestamp", "stamp")
SERIES = "unique_id"

Forecast = npt.NDArray[np.float64]


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"stream: {message}. See mambats stream --help.")


def run(words: list[str], command: str) -> int:
    """Run the command."""
    given = _parse(words)
    task = load_task(given.checkpoint)
    # Refuses models that read fixed windows, before any file is opened for writing.
    task.model.init_state(1, 1)
    inputs = Inputs.of(read_checkpoint(given.checkpoint))
    kind = kind_of(given.input, given.format)
    name = "standard input" if given.input == "-" else given.input
    bad = 0
    with _reading(given.input) as source:
        lines = read_lines(source, kind, name)
        first = _first(lines, name)
        time = given.time or _find_time(first, task, inputs, name)
        _check_columns(first, task, inputs, name)
        steppers: dict[str, Stepper] = {}
        out_kind = kind_of(given.output, given.format) if given.output != "-" else kind
        with _writing(given.output) as sink:
            write = _writer(sink, out_kind, task, time)
            for line in _progress(_chain(first, lines), given):
                try:
                    if isinstance(line, DataError):
                        raise line
                    series = str(line.cells.get(SERIES, ""))
                    stepper = steppers.setdefault(series, Stepper(task, inputs, time))
                    write(line, stepper.push(line, name))
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


def _find_time(first: Line, task: Any, inputs: Inputs, name: str) -> str | None:
    taken = {*task.scaler.channels, *(inputs.past.channels if inputs.past else ()), SERIES}
    left = [column for column in first.cells if column not in taken]
    named = [column for column in left if column.lower() in TIME_NAMES]
    dated = [column for column in left if is_time(first.cells[column])]
    found = next(iter([*named, *dated]), None)
    if found is None and (task.model.cycle is not None or inputs.calendar):
        raise DataError(
            f"{name}: no time column is found among {', '.join(first.cells)}, and the model needs the time of day. "
            "Name it with --time."
        )
    return found


def _check_columns(first: Line, task: Any, inputs: Inputs, name: str) -> None:
    wanted = [*task.scaler.channels, *(inputs.past.channels if inputs.past else ())]
    missing = [column for column in wanted if column not in first.cells]
    if missing:
        raise DataError(
            f"{name}: column {', '.join(map(repr, missing))} is missing. The model was trained on {wanted}; "
            f"the file has {list(first.cells)}. Give the same columns, in any order."
        )


def _chain(first: Line, lines: Iterator[Line | DataError]) -> Iterator[Line | DataError]:
    yield first
    yield from lines


def _progress(lines: Iterator[Line | DataError], given: argparse.Namespace) -> Iterator[Line | DataError]:
    """Show a count of rows where somebody looks and the forecasts go elsewhere."""
    if given.output == "-" or not sys.stderr.isatty():
        return lines
    from tqdm import tqdm

    return iter(tqdm(lines, unit=" rows", desc="stream", file=sys.stderr))


def _writer(sink: TextIO, kind: Kind, task: Any, time: str | None) -> Callable[[Line, Forecast], None]:
    channels, quantiles = list(task.scaler.channels), task.model.quantiles

    def keys(line: Line) -> dict[str, Any]:
        place = {SERIES: line.cells[SERIES]} if SERIES in line.cells else {}
        return {**place, **({time: line.cells.get(time)} if time else {"line": line.number})}

    def write_json(line: Line, forecast: Forecast) -> None:
        points = _points(forecast, quantiles)
        row = keys(line) | {"forecast": {c: points[:, i].tolist() for i, c in enumerate(channels)}}
        if quantiles is not None:
            row["quantiles"] = {
                str(q): {c: forecast[:, i, n].tolist() for i, c in enumerate(channels)} for n, q in enumerate(quantiles)
            }
        sink.write(json.dumps(row) + "\n")
        sink.flush()

    table = csv.writer(sink, lineterminator="\n")
    started: list[bool] = []

    def write_csv(line: Line, forecast: Forecast) -> None:
        parts = {"": _points(forecast, quantiles)}
        parts |= {f"_q{q}": forecast[:, :, n] for n, q in enumerate(quantiles or ())}
        place = keys(line)
        if not started:
            names = [f"{c}_h{k + 1}{end}" for end, v in parts.items() for c in channels for k in range(v.shape[0])]
            table.writerow([*place, *names])
            started.append(True)
        numbers = [f"{x:.9g}" for values in parts.values() for x in values.T.ravel()]
        table.writerow([*place.values(), *numbers])
        sink.flush()

    return write_json if kind == "jsonl" else write_csv


def _points(forecast: Forecast, quantiles: tuple[float, ...] | None) -> Forecast:
    import torch

    return point_forecast(torch.from_numpy(forecast), quantiles).numpy()


@contextmanager
def _reading(path: str) -> Generator[TextIO]:
    if path == "-":
        yield sys.stdin
        return
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error


@contextmanager
def _writing(path: str) -> Generator[TextIO]:
    if path == "-":
        yield sys.stdout
        return
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        yield file
