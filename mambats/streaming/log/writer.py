"""What a streaming run leaves behind: its configuration, outputs, counters and latencies, for `mambats report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np
import numpy.typing as npt

from mambats.results import write_whole
from mambats.streaming.counters import FATES
from mambats.streaming.log.latency import Latency

#: Numbers by name, and by stream and cause below: what `mambats.streaming.counters.Counters.table` gives.
Table = Mapping[str, Any]
_FILES = ("configuration.json", "outputs.jsonl", "counters.jsonl", "counters.json", "latency.json")


class RunLogError(ValueError):
    """Raised when a log cannot be begun where it is asked for, or cannot be read."""


class RunLog:
    """Writes a run's log while it runs: a line an output at once, counters and latencies whole.

    Args:
        folder: Made where it is not there.
        configuration: What was run: anything JSON takes.
        resume: Go on with the log that an earlier process of the same configuration left, if there is one.

    Raises:
        RunLogError: If the folder holds another run's log, or the configuration is not JSON.

    Example:
        with RunLog(Path("runs/robot/log"), {"bundle": "bundle"}) as log:
            log.output(stamp_ns, {"position": mean}, latency_us=41.0)
            log.counters(stamp_ns, {"received": 1, "used": 1})
    """

    def __init__(self, folder: Path, configuration: Mapping[str, Any], resume: bool = False) -> None:
        try:
            content = json.dumps(configuration, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RunLogError(
                f"the configuration is not JSON: {error}. Give numbers, words, lists and maps."
            ) from error
        known = _configuration(folder)
        if (taken := [name for name in _FILES if (folder / name).exists()]) and not (resume and known == content):
            why = "was begun with another configuration" if resume else "is of another run"
            raise RunLogError(f"{folder}: {taken[0]} {why}. Choose another folder, or remove this one.")
        self.folder, self.latency = folder, _latency(folder / "latency.json")
        self._last: Table | None = None
        write_whole(folder / "configuration.json", f"{content}\n".encode())
        self._outputs, self._counters = _lines(folder / "outputs.jsonl"), _lines(folder / "counters.jsonl")

    def output(
        self, stamp_ns: int, outputs: Mapping[str, npt.ArrayLike], row: int = 0, latency_us: float | None = None
    ) -> None:
        """Write an answer.

        Args:
            stamp_ns: Event time, nanoseconds.
            outputs: Arrays of any shape by name.
            row: Which robot.
            latency_us: From the packet's arrival to the answer, microseconds; None where it was not taken.
        """
        if latency_us is not None:
            self.latency.add(latency_us)
        values = {name: _listed(np.asarray(value, dtype=np.float64)) for name, value in outputs.items()}
        line = {"stamp_ns": int(stamp_ns), "row": row, "latency_us": latency_us, "outputs": values}
        self._outputs.write(json.dumps(line) + "\n")

    def counters(self, stamp_ns: int, counters: Table) -> None:
        """Write counters as they stand, and all that was told before them; once a second is plenty."""
        self._last = counters
        self._counters.write(json.dumps({"stamp_ns": int(stamp_ns), "counters": counters}, default=int) + "\n")
        self._outputs.flush()
        self._counters.flush()
        self._write("latency.json", self.latency.content())

    def close(self) -> None:
        """Write what is counted, whole, and close the files; a second time does nothing."""
        if self._outputs.closed:
            return
        self._outputs.close()
        self._counters.close()
        self._write("latency.json", self.latency.content())
        if self._last is not None:
            self._write("counters.json", self._last)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self.folder / name, (json.dumps(content, indent=2, default=int) + "\n").encode())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def unaccounted(counters: Table) -> dict[str, int]:
    """Return how many packets have no fate, of all ("") and by stream, where it is not zero.

    A stream's counters stand under `streams`; what is not counted is 0.
    """
    streams = counters.get("streams", {})
    parts: dict[str, Any] = {"": counters, **(streams if isinstance(streams, Mapping) else {})}
    lost = dict[str, int]()
    for name, part in parts.items():
        if isinstance(part, Mapping) and "received" in part:
            lost[name] = int(part["received"]) - sum(int(part.get(fate, 0)) for fate in FATES)
    return {name: count for name, count in lost.items() if count}


def _listed(values: npt.NDArray[np.float64]) -> Any:
    """Return nested lists with None in place of what is not finite, which JSON cannot say."""
    if np.isfinite(values).all():
        return values.tolist()
    made = values.astype(object)
    made[~np.isfinite(values)] = None
    return made.tolist()


def _configuration(folder: Path) -> str | None:
    """Return the configuration of the log in a folder, None where there is none."""
    try:
        return (folder / "configuration.json").read_text(encoding="utf-8").removesuffix("\n")
    except FileNotFoundError:
        return None


def _latency(file: Path) -> Latency:
    """Return what an earlier process counted; what it counted since it last wrote is lost."""
    try:
        return Latency.read(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Latency()
    except (KeyError, TypeError, ValueError) as error:
        raise RunLogError(f"{file}: cannot be gone on with ({error}). Choose another folder.") from error


def _lines(file: Path) -> TextIO:
    """Open a file to write lines behind those that it has; a line that was cut off stays one of its own."""
    opened = file.open("a", encoding="utf-8")
    with file.open("rb") as known:
        size = known.seek(0, 2)
        known.seek(max(size - 1, 0))
        if size and known.read(1) != b"\n":
            opened.write("\n")
    return opened
