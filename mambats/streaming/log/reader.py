"""A run's log read back, as much of it as a killed run has left, thinned to what a page can show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mambats.streaming.log.latency import Latency
from mambats.streaming.log.writer import RunLogError

#: Numbers of an output that are kept; a forecast of 96 steps and 7 channels has 672 of them.
MOST_CURVES = 8
#: Points of a curve: more outputs are thinned, evenly and whatever the order in which robots take turns.
MOST_POINTS = 2000
_GOLDEN = 2654435769  # 2^32 over the golden ratio: its multiples fill 0 to 2^32 evenly


@dataclass(frozen=True)
class Curves:
    """Numbers of one output of one robot over time.

    Args:
        stamps: Nanoseconds, shape (T,).
        values: Shape (T, C), NaN where there is no number.
        names: Of the C columns: their place in the output, `0,2` say.
        size: Numbers the output has, shown or not.
    """

    stamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    names: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Log:
    """What a run left.

    Args:
        configuration: What was run.
        outputs: Curves by the output's name, ` (robot 2)` behind it where there are several.
        answers: Outputs written.
        counters: As they stood last, empty where none were written.
        counted: Stamps (T,) and one column of counts (T,) a name, over time.
        latency: None where none was written.
        broken: Lines that could not be read: the last one of a run that was killed.
    """

    configuration: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outputs: Mapping[str, Curves] = field(default_factory=dict[str, Curves])
    answers: int = 0
    counters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    counted: tuple[npt.NDArray[np.int64], Mapping[str, npt.NDArray[np.float64]]] | None = None
    latency: Latency | None = None
    broken: int = 0


def read_log(folder: Path) -> Log:
    """Read the log of a run, finished or killed.

    Raises:
        RunLogError: If a file is no such file; names it.
    """
    answers = _count(folder / "outputs.jsonl")
    outputs, broken = _outputs(folder / "outputs.jsonl", max(1, math.ceil(answers / MOST_POINTS)))
    rows, lost = _rows(folder / "counters.jsonl")
    counters = read_counters(folder / "counters.json") if (folder / "counters.json").is_file() else {}
    latency = _read(folder / "latency.json")
    try:
        known = None if latency is None else Latency.read(latency)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise RunLogError(f"{folder / 'latency.json'}: {error}") from error
    return Log(
        configuration=_read(folder / "configuration.json") or {},
        outputs=outputs,
        answers=answers,
        counters=counters or (rows[-1]["counters"] if rows else {}),
        counted=_counted(rows) if rows else None,
        latency=known,
        broken=broken + lost,
    )


def read_counters(file: Path) -> Mapping[str, Any]:
    """Read counters: numbers by name, and by stream or reason one level below.

    Raises:
        RunLogError: If the file holds anything else.
    """
    content = _read(file)
    values = [value for one in (content or {}).values() for value in _numbers(one)]
    if content is None or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise RunLogError(f"{file}: holds no counters. Give the counters.json that `mambats run --log` writes.")
    return content


def _numbers(value: Any) -> Iterator[Any]:
    """Yield what stands at the ends of nested maps."""
    if isinstance(value, Mapping):
        for inner in cast("Mapping[str, Any]", value).values():
            yield from _numbers(inner)
    else:
        yield value


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunLogError(f"{file}: is no JSON ({error}). Take the file as the run wrote it.") from error
    if not isinstance(content, dict):
        raise RunLogError(f"{file}: holds a {type(content).__name__}, needed names with values.")
    return cast("dict[str, Any]", content)


def _count(file: Path) -> int:
    if not file.is_file():
        return 0
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _rows(file: Path, every: int = 1) -> tuple[list[dict[str, Any]], int]:
    """Return one of `every` lines of a file, and how many of them could not be read."""
    found, broken = list[dict[str, Any]](), 0
    if not file.is_file():
        return found, broken
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            if number * _GOLDEN % 2**32 * every >= 2**32:
                continue
            try:
                row = json.loads(line)
                found.append({**row, "stamp_ns": int(row["stamp_ns"])})
            except (json.JSONDecodeError, RecursionError, KeyError, TypeError, ValueError):
                broken += 1
    return found, broken


def _outputs(file: Path, every: int) -> tuple[dict[str, Curves], int]:
    rows, broken = _rows(file, every)
    several = len({row.get("row", 0) for row in rows}) > 1
    parts = dict[str, tuple[list[int], list[npt.NDArray[np.float64]]]]()
    for row in rows:
        outputs = row.get("outputs")
        for name, value in cast("dict[str, Any]", outputs if isinstance(outputs, dict) else {}).items():
            key = f"{name} (robot {row.get('row', 0)})" if several else name
            try:
                array = np.asarray(value, dtype=np.float64)  # null is NaN
            except (TypeError, ValueError):
                broken += 1
                continue
            stamps, values = parts.setdefault(key, ([], []))
            stamps.append(row["stamp_ns"])
            values.append(array)
    return {name: _curves(*part) for name, part in parts.items()}, broken


def _curves(stamps: list[int], values: list[npt.NDArray[np.float64]]) -> Curves:
    shape = values[0].shape
    alike = [at for at, value in enumerate(values) if value.shape == shape]
    table = np.stack([values[at].ravel() for at in alike])
    chosen = range(min(table.shape[1], MOST_CURVES))  # of a forecast: all channels one step ahead
    places = [",".join(str(i) for i in np.unravel_index(at, shape)) for at in chosen] if shape else [""]
    times = np.array([stamps[at] for at in alike], dtype=np.int64)
    return Curves(times, table[:, : len(chosen)], tuple(places), table.shape[1])


def _counted(rows: list[dict[str, Any]]) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float64]]]:
    tops = [{k: v for k, v in row.get("counters", {}).items() if isinstance(v, int)} for row in rows]
    names = dict.fromkeys(name for top in tops for name in top)
    columns = {name: np.array([top.get(name, 0) for top in tops], dtype=np.float64) for name in names}
    return np.array([row["stamp_ns"] for row in rows], dtype=np.int64), columns
