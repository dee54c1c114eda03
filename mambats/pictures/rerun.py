"""Rerun, in one file since its interface moves every release: what a stream or a tracker does, on a time line.

Written for rerun-sdk 0.41. Nothing of Rerun is imported before a `StreamView` is made. A recording (.rrd) is opened
with `rerun FILE.rrd`; live, the viewer is started or connected to on this machine.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS
from mambats.pictures.ellipsoid import CHI_SQUARE_95, ellipsoids

Numbers = npt.NDArray[np.float64]
#: Numbers of an output that get a curve; all of them are in the recording as a tensor.
MOST_CURVES = 16
HELD = 512  # rows of numbers kept back until they are written together: 7 us a row in place of 100 (processor time)
PAUSE = 0.1  # s a live view waits at most for the next rows
TRAIL = 30  # places of a track that are drawn behind it
_GREY = "#7F7F7F"
_LATER = 10**18  # ns: stamps above are a date (after 2001), below a time since some start


class StreamView:
    """Shows what goes into a stream, what comes out, and how sure it is, in a file or live.

    All stamps are event time in nanoseconds. Numbers are held back for up to 512 rows (live: 0.1 s), so that a call
    costs microseconds; `flush` or `close` writes them.

    Args:
        to: `NAME.rrd` for a file, `live` to start the viewer on this machine, `live:URL` for one that runs.
        name: Of the recording.
        every: Keep every so many-th row of an input, output, estimate or state; the others are not written.

    Raises:
        ValueError: If `to` is none of the three, or `every` is below 1.
        ModuleNotFoundError: If rerun-sdk is not installed.

    Example:
        with StreamView("run.rrd") as view:
            view.input("imu", stamp_ns, [0.0, 0.1, 9.8])
            view.output(stamp_ns, {"speed": 1.2})
    """

    def __init__(self, to: str | Path, name: str = "mambats", every: int = 1) -> None:
        place = str(to)
        if every < 1 or not (place.endswith(".rrd") or place == "live" or place.startswith("live:")):
            raise ValueError(
                f"the view goes to {place!r}, every {every}: give FILE.rrd, live or live:URL, and 1 or more."
            )
        self.to, self.every = place, every
        self._recording = _Recording(place, name)
        self._rr = self._recording.rerun
        self._count, self._trails = dict[str, int](), dict[str, dict[int, list[Numbers]]]()

    def input(self, stream: str, stamp_ns: int, values: npt.ArrayLike, fate: str = "used", row: int = 0) -> None:
        """Show a measurement; what was not used stands beside, as points.

        Args:
            stream: Name of the sensor.
            stamp_ns: When it was measured.
            values: Shape (C,), NaN where nothing was.
            fate: used, duplicate, late or rejected.
            row: Which robot.
        """
        path = _path("inputs", stream, row)
        if fate != "used":
            path = f"{path}/{fate}"
            self._recording.style(path, points=True)
        elif self._skip(path):
            return
        self._recording.hold(path, stamp_ns, _flat(values))

    def output(self, stamp_ns: int, outputs: Mapping[str, npt.ArrayLike], row: int = 0) -> None:
        """Show an answer: arrays of any shape by name; large ones as curves of their first numbers and as a tensor."""
        for name, value in outputs.items():
            path, array = _path("outputs", name, row), np.asarray(value, dtype=np.float64)
            if self._skip(path):
                continue
            self._recording.hold(path, stamp_ns, array.ravel()[:MOST_CURVES])
            if array.size > MOST_CURVES:
                self._recording.log(f"tensors/{path}", stamp_ns, self._rr.Tensor(array))

    def gaussian(self, name: str, stamp_ns: int, mean: npt.ArrayLike, covariance: npt.ArrayLike, row: int = 0) -> None:
        """Show an estimate: curves with their 95 % band, and an ellipse in space where it has two or three numbers.

        Args:
            name: Of what is estimated.
            stamp_ns: When.
            mean: Shape (n,).
            covariance: Shape (n, n).
            row: Which robot.

        Raises:
            ValueError: If the shapes do not fit.
        """
        path, middle, spread = _path("estimates", name, row), _flat(mean), np.asarray(covariance, dtype=np.float64)
        if spread.shape != (len(middle), len(middle)):
            raise ValueError(f"{name}: the mean has {len(middle)} numbers, the covariance is {spread.shape}.")
        if self._skip(path):
            return
        wide = np.sqrt(CHI_SQUARE_95[1] * np.maximum(np.diagonal(spread), 0.0))
        for number, (low, value, high) in enumerate(zip(middle - wide, middle, middle + wide, strict=True)):
            self._recording.style(f"{path}/{number}", names=["95 % from", "mean", "95 % to"])
            self._recording.hold(f"{path}/{number}", stamp_ns, np.array([low, value, high]))
        if len(middle) in (2, 3) and np.isfinite(middle).all() and np.isfinite(spread).all():
            self._recording.log(
                f"scene/{name}{row or ''}", stamp_ns, self._ellipsoids(middle[None], spread[None], [COLOURS[0]])
            )

    def state(self, stamp_ns: int, state: Mapping[str, npt.ArrayLike]) -> None:
        """Show how large each array of a model's state is: root mean square, largest, and how many are not finite."""
        for name, value in state.items():
            path, array = _path("state", name, 0), np.asarray(value, dtype=np.float64)
            if not array.size or self._skip(path):
                continue
            finite = array[np.isfinite(array)]
            mean, most = (np.sqrt(np.square(finite).mean()), np.abs(finite).max()) if finite.size else (np.nan, np.nan)
            self._recording.style(path, names=["root mean square", "largest", "not finite"])
            self._recording.hold(path, stamp_ns, np.array([mean, most, array.size - finite.size]))

    def tracks(
        self,
        stamp_ns: int,
        boxes: npt.ArrayLike,
        identity: npt.ArrayLike,
        covariance: npt.ArrayLike | None = None,
        words: Sequence[str] | None = None,
        name: str = "tracks",
    ) -> None:
        """Show tracks as boxes in space with their ids, where they came from, and 95 % ellipsoids of their centres.

        Args:
            stamp_ns: When.
            boxes: Centre, size, yaw, shape (N, 7), see `mambats.track.BOX`.
            identity: Shape (N,) of whole numbers; colours go by it.
            covariance: Of boxes, shape (N, 7, 7), or None.
            words: A label a box; None shows the ids.
            name: Of the tracks among others.

        Raises:
            ValueError: If the shapes do not fit.
        """
        table, ids = _boxes(boxes), np.asarray(identity, dtype=np.int64).reshape(-1)
        spread = None if covariance is None else np.asarray(covariance, dtype=np.float64)
        if len(ids) != len(table) or (spread is not None and spread.shape != (len(table), 7, 7)):
            found = f"{len(ids)} ids" + ("" if spread is None else f", covariance {spread.shape}")
            raise ValueError(f"{name}: {found} for {len(table)} boxes: give one a box, and (N, 7, 7).")
        colours = [COLOURS[i % len(COLOURS)] for i in ids.tolist()]
        labels = [str(i) for i in ids.tolist()] if words is None else list(words)
        self._recording.log(f"scene/{name}", stamp_ns, self._cuboids(table, colours, labels))
        self._recording.log(f"scene/{name}/trails", stamp_ns, self._trail(name, table, ids))
        if spread is not None:
            self._recording.log(
                f"scene/{name}/uncertainty", stamp_ns, self._ellipsoids(table[:, :3], spread[:, :3, :3], colours)
            )

    def boxes(
        self, stamp_ns: int, boxes: npt.ArrayLike, name: str = "detections", words: Sequence[str] | None = None
    ) -> None:
        """Show boxes (N, 7) of no identity: detections or labels."""
        table = _boxes(boxes)
        self._recording.log(f"scene/{name}", stamp_ns, self._cuboids(table, [_GREY] * len(table), words))

    def points(self, stamp_ns: int, points: npt.ArrayLike, name: str = "lidar") -> None:
        """Show a sweep, points (P, 3) in metres, coloured by height.

        Raises:
            ValueError: If the shape is another.
        """
        table = np.asarray(points, dtype=np.float32)
        if table.ndim != 2 or table.shape[1] != 3:
            raise ValueError(f"{name}: points have shape {table.shape}: give (P, 3), x y z in metres.")
        shade = np.clip((table[:, 2:] + 2.5) / 4.0, 0.0, 1.0)  # from below the road to above a car, seen from a roof
        colours = (np.array([70, 90, 160]) * (1 - shade) + np.array([240, 228, 66]) * shade).astype(np.uint8)
        self._recording.log(f"scene/{name}", stamp_ns, self._rr.Points3D(table, colors=colours, radii=0.03))

    def image(self, stamp_ns: int, image: npt.ArrayLike, name: str = "camera") -> None:
        """Show a picture (H, W, 3) or (H, W), uint8."""
        self._recording.log(
            f"pictures/{name}", stamp_ns, self._rr.Image(np.asarray(image, dtype=np.uint8)).compress(85)
        )

    def rectangles(
        self,
        stamp_ns: int,
        pixels: npt.ArrayLike,
        words: Sequence[str] | None = None,
        identity: npt.ArrayLike | None = None,
        name: str = "camera",
    ) -> None:
        """Show boxes left, top, right, bottom (N, 4) in a picture; what is not finite is left out."""
        table = np.asarray(pixels, dtype=np.float64).reshape(-1, 4)
        kept = np.flatnonzero(np.isfinite(table).all(1))
        ids = None if identity is None else np.asarray(identity, dtype=np.int64)
        colours = [_GREY if ids is None else COLOURS[int(ids[k]) % len(COLOURS)] for k in kept.tolist()]
        labels = None if words is None else [words[k] for k in kept.tolist()]
        form = self._rr.Box2DFormat.XYXY
        drawn = self._rr.Boxes2D(array=table[kept], array_format=form, colors=_rgb(colours), labels=labels)
        self._recording.log(f"pictures/{name}/{'boxes' if ids is None else 'tracks'}", stamp_ns, drawn)

    def counters(self, stamp_ns: int, counters: Mapping[str, Any]) -> None:
        """Show counters, a curve each; those below a name stand under it."""
        for name, value in counters.items():
            if isinstance(value, Mapping):
                self.counters(stamp_ns, {f"{name}/{inner}": count for inner, count in value.items()})
            else:
                self._recording.hold(_path("counters", name, 0), stamp_ns, np.array([float(value)]))

    def word(self, stamp_ns: int, text: str, bad: bool = False) -> None:
        """Write a line into the log."""
        level = self._rr.TextLogLevel.WARN if bad else self._rr.TextLogLevel.INFO
        self._recording.log("log", stamp_ns, self._rr.TextLog(text, level=level))

    def flush(self) -> None:
        """Write what was held back."""
        self._recording.flush()

    def close(self) -> None:
        """Write everything and let go of the file or the viewer; a second time does nothing."""
        self._recording.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _skip(self, path: str) -> bool:
        """Say whether this row is one of those that are left out."""
        number = self._count.get(path, 0)
        self._count[path] = number + 1
        return number % self.every != 0

    def _ellipsoids(self, centres: Numbers, covariance: Numbers, colours: Sequence[str]) -> Any:
        places, half, turns = ellipsoids(centres, covariance)
        look = {"colors": _rgb(colours), "line_radii": 0.02}
        return self._rr.Ellipsoids3D(centers=places, half_sizes=half, quaternions=turns, **look)

    def _cuboids(self, table: Numbers, colours: Sequence[str], words: Sequence[str] | None) -> Any:
        turns = np.zeros((len(table), 4))
        turns[:, 2], turns[:, 3] = np.sin(table[:, 6] / 2), np.cos(table[:, 6] / 2)
        look = {"colors": _rgb(colours), "labels": words, "radii": 0.03}
        return self._rr.Boxes3D(centers=table[:, :3], sizes=table[:, 3:6], quaternions=turns, **look)

    def _trail(self, name: str, table: Numbers, ids: npt.NDArray[np.int64]) -> Any:
        """Lines through the last places of the tracks that are there now; those that are gone are forgotten."""
        known = self._trails.get(name, {})
        now = {int(i): [*known.get(int(i), [])[1 - TRAIL :], box[:3]] for i, box in zip(ids, table, strict=True)}
        self._trails[name] = now
        lines = {i: places for i, places in now.items() if len(places) > 1}
        colours = [COLOURS[i % len(COLOURS)] for i in lines]
        return self._rr.LineStrips3D([np.stack(places) for places in lines.values()], colors=_rgb(colours), radii=0.03)


class _Recording:
    """An open recording: things written at moments, numbers held back until writing them pays."""

    def __init__(self, place: str, name: str) -> None:
        self.rerun, self._blueprint = _module("rerun"), _module("rerun.blueprint")
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
            self._stream.spawn()
        else:
            self._stream.connect_grpc(place.removeprefix("live:"))

    def hold(self, path: str, stamp_ns: int, values: Numbers) -> None:
        """Keep a row of numbers until it pays to write."""
        self._lay_out(path)
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

    def style(self, path: str, names: Sequence[str] | None = None, points: bool = False) -> None:
        """Say once how the numbers of a path are drawn."""
        if path not in self._styled:
            self._styled.add(path)
            look = self.rerun.SeriesPoints(marker_sizes=[4]) if points else self.rerun.SeriesLines(names=names)
            self._stream.log(path, look, static=True)

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
        windows = {name: getattr(self._blueprint, view) for name, view in _WINDOWS.items() if name in self._roots}
        space = [make(origin=name, name=name) for name, make in windows.items() if name in _SPACE]
        curves = [make(origin=name, name=name) for name, make in windows.items() if name not in _SPACE]
        sides = [self._blueprint.Vertical(*part) for part in (space, curves) if part]
        self._stream.send_blueprint(self._blueprint.Blueprint(self._blueprint.Horizontal(*sides), collapse_panels=True))


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


def _module(name: str) -> Any:
    """Load Rerun; `rerun` here is the package, this file is mambats.pictures.rerun."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("views need rerun-sdk: pip install 'mambats[robot]'.", name=error.name) from error


def _path(root: str, name: str, row: int) -> str:
    """Return where something stands; names may have slashes, which make groups."""
    return f"{root}/{name}/robot {row}".replace(" ", "_") if row else f"{root}/{name}".replace(" ", "_")


def _rgb(colours: Sequence[str]) -> list[list[int]]:
    """Return colours `#RRGGBB` as numbers."""
    return [list(bytes.fromhex(colour[1:])) for colour in colours]


def _flat(values: npt.ArrayLike) -> Numbers:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _boxes(boxes: npt.ArrayLike) -> Numbers:
    table = np.asarray(boxes, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 7:
        raise ValueError(f"boxes have shape {table.shape}: give (N, 7): x, y, z, length, width, height, yaw.")
    return table
