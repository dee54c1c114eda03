"""UEA and UCR `.ts` files: one case a line, dimensions separated by colons, the label last.

Source: the archive at https://timeseriesclassification.com; the format is described by aeon and sktime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.lines import read_bytes
from mambats.formats.repair import REFUSE, Place, Policy, mark_missing
from mambats.series import Recording, Stream

FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class Cases:
    """Labelled cases.

    Args:
        name: `@problemName`.
        recordings: One a case with stream `input`, and truth `class` (one row at the last stamp, the index of the
            class) or `target` (the number to predict).
        classes: Names of the classes in the order of the header; empty for regression and unlabelled files.
    """

    name: str
    recordings: list[Recording]
    classes: tuple[str, ...] = ()


@dataclass
class _Header:
    """What the lines that begin with @ say."""

    name: str = ""
    dimensions: int | None = None
    length: int | None = None
    labelled: bool = False
    regression: bool = False
    classes: tuple[str, ...] = ()
    flags: dict[str, bool] = field(default_factory=dict[str, bool])

    @property
    def tail(self) -> int:
        """Fields behind the dimensions."""
        return int(self.labelled or self.regression)


def read_uea(path: Path | str, rate: float = 1.0, policy: Policy = REFUSE) -> Cases:
    """Read all cases of a file, of equal lengths or not; `?` and NaN are unobserved.

    Args:
        path: `.ts` or `.ts.gz`.
        rate: Samples a second: the files do not say it.
        policy: What to do with a last line that is cut off.

    Raises:
        DataError: If the header is missing or has time stamps, or a case has other dimensions, lengths or labels than
            the header; names the line.
    """
    if not rate > 0:
        raise DataError(f"{path}: rate is {rate}, needed samples a second, above 0.")
    file = Path(path)
    data, torn = read_bytes(file, policy)
    lines = data.decode("utf-8", "replace").splitlines()
    if torn:
        lines = lines[:-1]
    header, first = _header(lines, file)
    stem = file.name.removesuffix(".gz").removesuffix(".ts")
    recordings = list[Recording]()
    for number, line in _cases(lines, first):
        place = Place(f"{file}, line {number}")
        recordings.append(_case(line, header, place, f"{stem}_{len(recordings):04d}", 1e9 / rate))
    if not recordings:
        raise DataError(f"{file}: no cases behind @data. Is the file whole?")
    return Cases(header.name or stem, recordings, header.classes)


def _cases(lines: list[str], first: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines[first:], first + 1):
        if line.strip() and not line.startswith(("#", "%")):
            yield number, line.strip()


def _header(lines: list[str], file: Path) -> tuple[_Header, int]:
    """Return the header and the number of lines it takes."""
    header = _Header()
    for count, line in enumerate(lines, 1):
        words = line.strip().split()
        if not words or words[0].startswith(("#", "%")):
            continue
        if not words[0].startswith("@"):
            raise DataError(f"{file}, line {count}: {line[:40]!r} before @data. A .ts file begins with @ lines.")
        if words[0].lower() == "@data":
            return header, count
        try:
            _take(header, words[0].lower(), words[1:])
        except (ValueError, KeyError, IndexError) as error:
            raise DataError(f"{file}, line {count}: {line.strip()!r} cannot be read ({error}).") from error
        if header.flags.get("@timestamps"):
            raise DataError(f"{file}, line {count}: cases with time stamps are not read. Write one value a step.")
    raise DataError(f"{file}: no line @data in {len(lines)} lines. Is it a .ts file, and whole?")


def _take(header: _Header, key: str, words: list[str]) -> None:
    if key == "@problemname":
        header.name = " ".join(words)
    elif key in ("@dimensions", "@dimension"):
        header.dimensions = int(words[0])
    elif key == "@serieslength":
        header.length = int(words[0])
    elif key == "@classlabel":
        header.labelled = FLAGS[words[0].lower()]
        header.classes = tuple(words[1:])
    elif key == "@targetlabel":
        header.regression = FLAGS[words[0].lower()]
    elif key in ("@timestamps", "@univariate", "@equallength", "@missing"):
        header.flags[key] = FLAGS[words[0].lower()]
        if key == "@univariate" and header.flags[key]:
            header.dimensions = header.dimensions or 1


def _case(line: str, header: _Header, place: Place, name: str, period: float) -> Recording:
    parts = line.split(":")
    fields = parts[: len(parts) - header.tail]
    wanted = header.dimensions or len(fields) or 1
    if len(fields) != wanted:
        raise DataError(f"{place.name}: {len(fields)} dimensions, needed {wanted}. Is the line cut off?")
    values = _numbers(fields, place)
    if header.flags.get("@equallength") and header.length is not None and len(values) != header.length:
        raise DataError(f"{place.name}: {len(values)} steps, the header says {header.length} for all.")
    stamps = np.rint(np.arange(len(values)) * period).astype(np.int64)
    observed, repairs = mark_missing(values, place)
    stream = Stream(stamps, values, tuple(f"dim_{i}" for i in range(wanted)), observed)
    return Recording(name, {"input": stream}, truth=_truth(parts[-1], header, stamps, place), repairs=repairs)


def _numbers(fields: list[str], place: Place) -> npt.NDArray[np.float64]:
    columns = list[npt.NDArray[np.float64]]()
    for dimension, text in enumerate(fields):
        cells = text.replace("?", "nan").split(",")
        try:
            columns.append(np.array(cells, dtype=np.float64))
        except ValueError as error:
            raise DataError(f"{place.name}, dimension {dimension}: {error}. Correct the cell.") from error
    if len({len(column) for column in columns}) > 1:
        lengths = [len(column) for column in columns]
        raise DataError(f"{place.name}: dimensions have lengths {lengths}, needed one clock: the same for all.")
    return np.stack(columns, axis=1)


def _truth(label: str, header: _Header, stamps: npt.NDArray[np.int64], place: Place) -> dict[str, Stream]:
    if not header.tail:
        return {}
    label = label.strip()
    if header.regression:
        try:
            return {"target": Stream(stamps[-1:], np.array([[float(label)]]), ("target",))}
        except ValueError as error:
            raise DataError(f"{place.name}: target {label!r} is not a number. Is the line cut off?") from error
    if label not in header.classes:
        raise DataError(f"{place.name}: class {label!r} is none of {', '.join(header.classes)}. Is the line cut off?")
    return {"class": Stream(stamps[-1:], np.array([[float(header.classes.index(label))]]), ("class",))}
