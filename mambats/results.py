"""Result rows: what was scored, on what, how; kept in results.json and shown as one table."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

Mode = Literal["online", "fixed-lag", "offline"]
#: What a row may say, by key; bool is no number here.
_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "source": (str,),
    "split": (str,),
    "lookback": (int,),
    "horizon": (int,),
    "metric": (str,),
    "value": (int, float),
    "windows": (int,),
    "seed": (int, type(None)),
    "mode": (str,),
}
#: Order of the known metrics in a table; others follow as they come.
_ORDER = ("mse", "mae", "mase", "smape", "crps")
_COVERAGE = "coverage_"
#: Words in the names of metrics of which more is better.
_MORE_IS_BETTER = {"accuracy", "f1", "auc", "vus", "nab", "ap"}


class ResultsError(ValueError):
    """Raised when a results file cannot be read as rows or cannot be written."""


@dataclass(frozen=True)
class Row:
    """One number, with all that is needed to compare it.

    Args:
        model: Name of the recipe, `no_mixer`, or a baseline.
        source: Name of the data.
        split: train, val or test.
        lookback: Rows that the model reads, >= 0.
        horizon: Rows forecast, >= 1.
        metric: mse, mae, mase, crps, coverage_90, ...
        value: The score; NaN where nothing could be scored.
        windows: Window starts scored, not times channels, >= 0.
        seed: Seed of the run, or None for what has none.
        mode: `online` (past only, row by row), `fixed-lag` or `offline`.

    Raises:
        ValueError: If a value has another type or range.
    """

    model: str
    source: str
    split: str
    lookback: int
    horizon: int
    metric: str
    value: float
    windows: int
    seed: int | None
    mode: Mode

    def __post_init__(self) -> None:
        """Check every value."""
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
                raise ValueError(f"{name} is {value!r}: a result row needs {wanted}.")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}: a result is online, fixed-lag or offline.")
        for name, least in (("lookback", 0), ("horizon", 1), ("windows", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: a result row needs {least} or more.")

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this row from others: everything but the value and the number of windows."""
        return tuple(getattr(self, name) for name in _KINDS if name not in ("value", "windows"))


def rows_of(
    values: Mapping[str, Any],
    *,
    model: str,
    source: str,
    split: str,
    lookback: int,
    horizon: int,
    windows: int,
    seed: int | None,
    mode: Mode,
) -> list[Row]:
    """Return one row a metric.

    Args:
        values: Scores by metric, anything that `float` takes (a scalar tensor).
        model: As in `Row`, like all that follow.
        source: Name of the data.
        split: train, val or test.
        lookback: Rows read.
        horizon: Rows forecast.
        windows: Window starts scored.
        seed: Seed of the run, or None.
        mode: online, fixed-lag or offline.
    """
    return [
        Row(model, source, split, lookback, horizon, metric, float(value), windows, seed, mode)
        for metric, value in values.items()
    ]


def merge_rows(*groups: Iterable[Row]) -> list[Row]:
    """Return all rows, a later one in the place of an earlier one of the same key."""
    merged = {row.key: row for group in groups for row in group}
    return list(merged.values())


def write_results(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write rows to a JSON file: a list of objects with the keys of `Row`, NaN as null.

    Args:
        path: File, e.g. runs/NAME/results.json; its folder is made.
        rows: What to write; what was there before is replaced.

    Returns:
        The path.

    Raises:
        ResultsError: If it cannot be written; an earlier file stays as it was.
    """
    items = [asdict(row) | {"value": _or_none(row.value)} for row in rows]
    lines = ",\n".join("  " + json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items)
    return write_whole(path, f"[\n{lines}\n]\n".encode())


def show_results(folder: str | Path, rows: Sequence[Row]) -> None:
    """Write the rows of a test as results.json into the folder of the run, and print them as one table."""
    write_results(Path(folder) / "results.json", rows)
    print(table(rows))


def seed_of_run() -> int | None:
    """Return the seed that Lightning was given for this run; None without one: rows of what was trained name it."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed else None


def read_results(path: str | Path) -> list[Row]:
    """Read the rows of `write_results`.

    Raises:
        FileNotFoundError: If there is no such file.
        ResultsError: If it is not a list of such rows; the message names the row.
    """
    file = Path(path)
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{file}: this is no JSON ({error}). Run `mambats test` again to write it anew.") from error
    if not isinstance(items, list):
        raise ResultsError(f"{file}: a results file holds a list of rows, this one a {type(items).__name__}.")
    return [_read_row(file, number, item) for number, item in enumerate(cast(list[Any], items))]


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write a file so that at every moment either the old or the new one is there, whole.

    Args:
        path: File; its folder is made.
        content: Its bytes.

    Returns:
        The path.

    Raises:
        ResultsError: If it cannot be written (disk full, no permission); an earlier file stays as it was.
    """
    file = Path(path)
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        raise ResultsError(
            f"{file}: could not be written: {error.strerror or error}. What was there before is as it was. "
            "Free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return file


def table(rows: Iterable[Row], *, markdown: bool = False) -> str:
    """Show rows as text: models down, metrics across, one part for each set of windows.

    Only what was scored on the same windows stands in one part. Several seeds give mean ± standard deviation. The
    best of a metric is marked with * (bold in Markdown): the lowest, for coverage the nearest to its level, for NEES
    and NIS the nearest to 1, for accuracy, F1, areas under curves, average precision and NAB's score the highest.

    Args:
        rows: What to show, in the order in which models first appear.
        markdown: Whether to write Markdown tables, for a README.

    Returns:
        The text, without a last line break; "no results" where there is no row.
    """
    parts: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault((row.source, row.split, row.horizon, row.windows), []).append(row)
    blocks = [_title(part[0]) + "\n" + ("\n" if markdown else "") + _part(part, markdown) for part in parts.values()]
    return "\n\n".join(blocks) or "no results"


def _title(row: Row) -> str:
    return f"{row.source}, {row.split}, horizon {row.horizon}, {row.windows:,} windows"


def _part(rows: Sequence[Row], markdown: bool) -> str:
    """Return the table of rows on the same windows."""
    scores: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    for row in rows:
        scores.setdefault((row.model, row.lookback, row.mode), {}).setdefault(row.metric, []).append(row.value)
    metrics = sorted({row.metric: None for row in rows}, key=_position)
    best = {metric: _best(metric, [s[metric] for s in scores.values() if metric in s]) for metric in metrics}
    seeds = any(len(values) > 1 for s in scores.values() for values in s.values())
    lines = [["model", "lookback", "mode", *(["seeds"] if seeds else []), *metrics]]
    for (model, lookback, mode), found in scores.items():
        count = [str(max(len(values) for values in found.values()))] if seeds else []
        cells = [_cell(found.get(metric, []), best[metric], markdown) for metric in metrics]
        lines.append([model, str(lookback), mode, *count, *cells])
    return _markdown(lines) if markdown else _columns(lines)


def _position(metric: str) -> int:
    """Return where a metric stands: known ones first, coverage last."""
    return _ORDER.index(metric) if metric in _ORDER else len(_ORDER) + metric.startswith(_COVERAGE)


def _best(metric: str, found: Sequence[Sequence[float]]) -> float | None:
    """Return the best mean, or None where there is nothing to compare."""
    means = [mean for values in found if math.isfinite(mean := statistics.fmean(values))]
    if len(means) < 2:
        return None
    level = metric.removeprefix(_COVERAGE)
    if level != metric and level.replace(".", "", 1).isdigit():
        return min(means, key=lambda mean: abs(mean - float(level) / 100))
    if metric.split("_")[0] in ("nees", "nis"):
        # Normalised by their degrees of freedom: half of 1 is as wrong as twice.
        return min(means, key=lambda mean: abs(math.log(max(mean, 1e-300))))
    return min(means) if _MORE_IS_BETTER.isdisjoint(metric.split("_")) else max(means)


def _cell(values: Sequence[float], best: float | None, markdown: bool) -> str:
    """Return mean ± deviation with four digits, marked where it is the best."""
    if not values:
        return "-" if markdown else "- "
    mean = statistics.fmean(values)
    spread = f" ± {_number(statistics.stdev(values))}" if len(values) > 1 and math.isfinite(mean) else ""
    text = f"{_number(mean)}{spread}"
    if mean != best:
        return text if markdown else text + " "
    return f"**{text}**" if markdown else text + "*"


def _number(value: float) -> str:
    """Return four digits after the point, or two that count where four would leave none."""
    return f"{value:.2g}" if 0 < abs(value) < 0.005 else f"{value:.4f}"


def _columns(lines: Sequence[Sequence[str]]) -> str:
    """Return lines with the first column to the left and the others to the right, ruled under the head."""
    head = [name if index < lines[0].index("mode") + 1 else name + " " for index, name in enumerate(lines[0])]
    rows = [head, *lines[1:]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    text: list[str] = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        text.append("  ".join(cells).rstrip())
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    head, *rest = lines
    rule = ["---" if name in ("model", "mode") else "---:" for name in head]
    safe = [[cell.replace("|", r"\|") for cell in line] for line in (head, rule, *rest)]
    return "\n".join("| " + " | ".join(line) + " |" for line in safe)


def _read_row(file: Path, number: int, item: object) -> Row:
    """Return a row after checking its keys; `Row` checks the values."""
    if not isinstance(item, dict):
        raise ResultsError(f"{file}: row {number} is a {type(item).__name__}, a result row is an object.")
    values = cast(dict[str, Any], item)
    if set(values) != set(_KINDS):
        raise ResultsError(
            f"{file}: row {number} has the keys {sorted(map(str, values))}: a result row has exactly {sorted(_KINDS)}."
        )
    score: Any = math.nan if values["value"] is None else values["value"]
    try:
        return Row(**(values | {"value": score}))
    except ValueError as error:
        raise ResultsError(f"{file}: row {number}: {error}") from error


def _or_none(value: float) -> float | None:
    """Return None for what JSON has no word for."""
    return float(value) if math.isfinite(value) else None
