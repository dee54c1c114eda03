"""An open recording of Rerun: a file, or a viewer that looks on."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.rerun.shape import BRIGHT, origin, rgb
from mambats.pictures.rerun.viewer import start_viewer

Numbers = npt.NDArray[np.float64]
HELD = 512  # rows of numbers kept back until they are written together: 7 us a row in place of 100 (processor time)
PAUSE = 0.1  # s a live view waits at most for the next rows
_LATER = 10**18  # ns: stamps above are a date (after 2001), below a time since some start
_CLOCKS = {"timestamp": "datetime", "duration": "timedelta"}
#: What has a window of its own, from top to bottom, and the kind of it.
_WINDOWS = {
    "scene": "Spatial3DView",
    "pictures": "Spatial2DView",
    "inputs": "TimeSeriesView",
    "outputs": "TimeSeriesView",
    "estimates": "TimeSeriesView",
    "state": "TimeSeriesView",
    "counters": "TimeSeriesView",
    "log": "TextLogView",
}
_SPACE = ("scene", "pictures")


class Recording:
    """Things written at moments, numbers held back until writing them pays.

    Args:
        place: `NAME.rrd`, `live` or `live:URL`.
        name: Of the recording.

    Raises:
        ValueError: If the file cannot be written, or no viewer can be started.
        ModuleNotFoundError: If rerun-sdk is not installed.
    """

    def __init__(self, place: str, name: str) -> None:
        self.rerun, self._blueprint = module("rerun"), module("rerun.blueprint")
        self.live, self.closed = not place.endswith(".rrd"), False
        self._stream = self.rerun.RecordingStream("mambats")
        self._stream.send_recording_name(name)
        self._stream.set_log_time_enabled(False)  # event time is the only one that comes back the same
        self._stream.set_log_tick_enabled(False)
        self._open(place)
        self._held = dict[str, tuple[list[int], list[Numbers]]]()
        self._waiting, self._written = 0, time.monotonic()
        self._roots, self._styled, self._dated = list[str](), set[str](), None

    def _open(self, place: str) -> None:
        if not self.live:
            try:
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                Path(place).open("wb").close()  # Rerun's own message names no file
            except OSError as error:
                raise ValueError(f"{place}: cannot be written ({error.strerror}). Choose another file.") from error
            self._stream.save(place)
        elif place == "live":
            self._stream.connect_grpc(start_viewer()[1])
        else:
            self._stream.connect_grpc(place.removeprefix("live:"))

    def hold(self, path: str, stamp_ns: int, values: Numbers) -> None:
        """Keep a row of numbers until it pays to write."""
        self._lay_out(path)
        if path not in self._styled:
            first = len(self._styled) if len(values) == 1 else 0  # single curves of a window are told apart, too
            self.style(path, None, [BRIGHT[(first + k) % len(BRIGHT)] for k in range(len(values))])
        stamps, rows = self._held.setdefault(path, ([], []))
        stamps.append(int(stamp_ns))
        rows.append(values)
        self._waiting += 1
        if self._waiting >= HELD or (self.live and time.monotonic() - self._written > PAUSE):
            self.flush()

    def log(self, path: str, stamp_ns: int, what: Any) -> None:
        """Write one thing at a moment."""
        self._lay_out(path)
        kind = self._kind(stamp_ns)
        self._stream.set_time("stamp", **{kind: np.array(stamp_ns, dtype=f"{_CLOCKS[kind]}64[ns]")[()]})
        self._stream.log(path, what)

    def style(self, path: str, names: Sequence[str] | None, colours: Sequence[str], points: bool = False) -> None:
        """Say once how the numbers of a path are drawn."""
        if path not in self._styled:
            self._styled.add(path)
            look: dict[str, Any] = {"colors": rgb(colours), "names": names}
            drawn = self.rerun.SeriesPoints(marker_sizes=[4], **look) if points else self.rerun.SeriesLines(**look)
            self._stream.log(path, drawn, static=True)

    def flush(self) -> None:
        """Write what was held back."""
        for path, (stamps, rows) in self._held.items():
            sizes = [len(row) for row in rows]
            columns = self.rerun.Scalars.columns(scalars=np.concatenate(rows)).partition(sizes)
            self._stream.send_columns(path, indexes=[self._clock(stamps)], columns=columns)
        self._held.clear()
        self._waiting, self._written = 0, time.monotonic()

    def close(self) -> None:
        """Write everything and let go of the file or the viewer; a second time does nothing."""
        if not self.closed:
            self.closed = True
            self.flush()
            self._stream.flush()
            self._stream.disconnect()

    def _kind(self, stamp_ns: int) -> str:
        """Name the clock: the first stamp says whether it tells a date."""
        if self._dated is None:
            self._dated = abs(int(stamp_ns)) > _LATER
        return "timestamp" if self._dated else "duration"

    def _clock(self, stamps: list[int]) -> Any:
        kind = self._kind(stamps[0])
        return self.rerun.TimeColumn("stamp", **{kind: np.array(stamps, dtype=f"{_CLOCKS[kind]}64[ns]")})

    def _lay_out(self, path: str) -> None:
        """Give every kind of thing a window of its own when it first comes."""
        root = path.partition("/")[0]
        if root in self._roots or root not in _WINDOWS:
            return
        self._roots.append(root)
        if root == "scene":
            self._stream.log("scene", self.rerun.ViewCoordinates.FLU, static=True)  # forward, left, up
            self._stream.log("scene/origin", origin(self.rerun), static=True)
        windows = {name: getattr(self._blueprint, view) for name, view in _WINDOWS.items() if name in self._roots}
        space = [make(origin=name, name=name) for name, make in windows.items() if name in _SPACE]
        curves = [make(origin=name, name=name) for name, make in windows.items() if name not in _SPACE]
        sides = [self._blueprint.Vertical(*part) for part in (space, curves) if part]
        shares = [3, 2][: len(sides)]
        wall = self._blueprint.Horizontal(*sides, column_shares=shares)
        self._stream.send_blueprint(self._blueprint.Blueprint(wall, collapse_panels=True))


def module(name: str) -> Any:
    """Load a module of Rerun; the name `rerun` alone is this room's, too."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("views need rerun-sdk: pip install 'mambats[robot]'.", name=error.name) from error
