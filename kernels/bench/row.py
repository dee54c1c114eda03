"""What a measurement says, and the CSV file that keeps it."""

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Where and with what was measured.

    Attributes:
        device: Name of the GPU or processor.
        torch: Its version.
        triton: Its version, or "none".
        nvrtc: Version of the run-time compiler, or "none".
        driver: Version of the GPU's driver, or "none".
        python: Its version.
        threads: CPU threads of torch.
        date: Day, ISO.
        copy_tb_s: Bytes read and written by a large copy, 1e12 a second; None where not measured.
        exp2_t_s: exp2 by the special function units, 1e12 a second; None where not measured.
    """

    device: str
    torch: str
    triton: str
    nvrtc: str
    driver: str
    python: str
    threads: int
    date: str
    copy_tb_s: float | None = None
    exp2_t_s: float | None = None


@dataclass(frozen=True)
class Row:
    """One implementation on one case in one pass; times in milliseconds, memory in MiB, None where not measured.

    Attributes:
        section: "scan", "extras", "bidirectional", "conv", "step", "attention", "cpu" or "model".
        case: Name of the case, `family/shape`.
        dtype: Of the sequences.
        who: The back-end, or the rival.
        step: "fwd" (no gradients) or "fwd+bwd".
        device_ms: Median over graph replays, a flush of the second cache before each; or what `note` says.
        eager_ms: Median between events around an eager call, a flush before each.
        host_ms: What one call costs the host in a tight loop without waiting.
        bytes_ms: Least bytes over the copy's rate of the same run.
        arithmetic_ms: Exponentials over the exp2 rate of the same run.
        held_mib: Device memory held after the forward pass with gradients, above the inputs.
        saved_mib: The same without the outputs: kept for the backward pass alone.
        peak_mib: Most device memory of forward and backward, above the inputs.
        first_ms: The first call of all, with building or loading of kernels.
        replays: How many replays or calls the median is over.
        rate: Samples or steps a second, of whole models.
        note: What else must be known: a failure, a skip, how time was taken.
    """

    section: str
    case: str
    dtype: str
    who: str
    step: str
    device_ms: float | None = None
    eager_ms: float | None = None
    host_ms: float | None = None
    bytes_ms: float | None = None
    arithmetic_ms: float | None = None
    held_mib: float | None = None
    saved_mib: float | None = None
    peak_mib: float | None = None
    first_ms: float | None = None
    replays: int = 0
    rate: float | None = None
    note: str = ""


MACHINE = [field.name for field in dataclasses.fields(Machine)]
ROW = [field.name for field in dataclasses.fields(Row)]
_TEXT = {"device", "torch", "triton", "nvrtc", "driver", "python", "date"} | {
    "section", "case", "dtype", "who", "step", "note"
}  # fmt: skip
_WHOLE = {"threads", "replays"}


class Book:
    """Rows, written to a file as they come, so that a run that is cut off keeps what it had.

    Args:
        machine: Written in front of every row.
        path: The CSV file; None keeps the rows in memory only.
    """

    def __init__(self, machine: Machine, path: Path | None = None) -> None:
        self.machine = machine
        self.rows: list[Row] = []
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(",".join([*MACHINE, *ROW]) + "\n", encoding="utf-8")

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows and write them."""
        found = list(rows)
        self.rows += found
        if self._path is None:
            return
        head = dataclasses.astuple(self.machine)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_word(v) for v in (*head, *dataclasses.astuple(row))] for row in found)


def _word(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else value


def _value(name: str, word: str) -> str | int | float | None:
    if name in _TEXT:
        return word
    if not word:
        return 0 if name in _WHOLE else None
    return int(word) if name in _WHOLE else float(word)


def read(paths: Sequence[Path]) -> list[tuple[Machine, Row]]:
    """Read rows back, each with its machine.

    Raises:
        ValueError: If a file has other columns than this version writes.
    """
    found: list[tuple[Machine, Row]] = []
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != [*MACHINE, *ROW]:
                raise ValueError(
                    f"{path} has columns {reader.fieldnames}, needed are {[*MACHINE, *ROW]}: measure anew."
                )
            for line in reader:
                values = {name: _value(name, word) for name, word in line.items()}
                machine = Machine(**{name: values[name] for name in MACHINE})  # type: ignore[arg-type]
                found.append((machine, Row(**{name: values[name] for name in ROW})))  # type: ignore[arg-type]
    return found
