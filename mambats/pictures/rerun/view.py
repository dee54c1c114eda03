"""The view of a stream or a tracker: what to show, in plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mambats.pictures.ellipsoid import CHI_SQUARE_95
from mambats.pictures.rerun.recording import Recording
from mambats.pictures.rerun.shape import BRIGHT, GREY, Trails, balls, colour_of, cuboids, rgb, strips

Numbers = npt.NDArray[np.float64]
#: Numbers of an output that get a curve; all of them are in the recording as a tensor.
MOST_CURVES = 16
WAY = 300  # places of a robot's way that are drawn behind it: half a minute of ten a second
_SIZES = ("root mean square", "largest", "not finite")
_POSE = ("position", "quaternion", "covariance")


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
        self._recording = Recording(place, name)
        self._rr = self._recording.rerun
        self._count, self._trails = dict[str, int](), dict[str, Trails]()

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
            self._recording.style(path, None, ["#D55E00"], points=True)
        elif self._skip(path):
            return
        self._recording.hold(path, stamp_ns, _flat(values))

    def output(self, stamp_ns: int, outputs: Mapping[str, npt.ArrayLike], row: int = 0) -> None:
        """Show an answer: arrays of any shape by name; large ones as curves of their first numbers and as a tensor.

        A navigator's answer (`position`, `quaternion` scalar last, `covariance` (9, 9) of rotation, velocity and
        position) is shown in space, too: where the robot is and came from, where it looks, and its 95 % ellipsoid.
        """
        pose = outputs.keys() >= set(_POSE)
        for name, value in outputs.items():
            path, array = _path("outputs", name, row), np.asarray(value, dtype=np.float64)
            if (pose and name == "covariance") or self._skip(path):
                continue
            self._recording.hold(path, stamp_ns, array.ravel()[:MOST_CURVES])
            if array.size > MOST_CURVES:
                self._recording.log(f"tensors/{path}", stamp_ns, self._rr.Tensor(array))
        if pose:
            position, quaternion, covariance = (np.asarray(outputs[name], dtype=np.float64) for name in _POSE)
            self._pose(stamp_ns, position, quaternion, covariance, row)

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
            self._recording.style(
                f"{path}/{number}", ["95 % from", "mean", "95 % to"], [GREY, BRIGHT[number % 8], GREY]
            )
            self._recording.hold(f"{path}/{number}", stamp_ns, np.array([low, value, high]))
        if len(middle) in (2, 3) and np.isfinite(middle).all() and np.isfinite(spread).all():
            self._recording.log(
                f"scene/{name}{row or ''}", stamp_ns, balls(self._rr, middle[None], spread[None], BRIGHT[:1])
            )

    def state(self, stamp_ns: int, state: Mapping[str, npt.ArrayLike]) -> None:
        """Show how large each array of a model's state is: root mean square, largest, and how many are not finite."""
        for name, value in state.items():
            path, array = _path("state", name, 0), np.asarray(value, dtype=np.float64)
            if not array.size or self._skip(path):
                continue
            finite = array[np.isfinite(array)]
            mean, most = (np.sqrt(np.square(finite).mean()), np.abs(finite).max()) if finite.size else (np.nan, np.nan)
            self._recording.style(path, [f"{name}: {what}" for what in _SIZES], BRIGHT[:3])
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

        Tracks with a number that is not finite are left out.

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
        kept = _finite(table) if spread is None else _finite(table) & _finite(spread)
        labels = [(str(i) if words is None else words[k]) for k, i in enumerate(ids.tolist()) if kept[k]]
        table, ids = table[kept], ids[kept]
        colours = [colour_of(i) for i in ids.tolist()]
        self._recording.log(f"scene/{name}", stamp_ns, cuboids(self._rr, table, colours, labels, solid=True))
        lines = self._trails.setdefault(name, Trails()).add(table[:, :3], ids)
        self._recording.log(f"scene/{name}/trails", stamp_ns, strips(self._rr, lines))
        if spread is not None:
            self._recording.log(
                f"scene/{name}/uncertainty", stamp_ns, balls(self._rr, table[:, :3], spread[kept, :3, :3], colours)
            )

    def boxes(
        self, stamp_ns: int, boxes: npt.ArrayLike, name: str = "detections", words: Sequence[str] | None = None
    ) -> None:
        """Show boxes (N, 7) of no identity: detections or labels."""
        table = _boxes(boxes)
        kept = _finite(table)
        table, words = table[kept], None if words is None else [word for word, k in zip(words, kept, strict=True) if k]
        self._recording.log(
            f"scene/{name}", stamp_ns, cuboids(self._rr, table, [GREY] * len(table), words, solid=False)
        )

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
        colours = [GREY if ids is None else colour_of(int(ids[k])) for k in kept.tolist()]
        labels = None if words is None else [words[k] for k in kept.tolist()]
        form = self._rr.Box2DFormat.XYXY
        drawn = self._rr.Boxes2D(array=table[kept], array_format=form, colors=rgb(colours), labels=labels)
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

    def _pose(self, stamp_ns: int, position: Numbers, quaternion: Numbers, covariance: Numbers, row: int) -> None:
        """Show a robot in space; a place that is not finite is not shown."""
        if position.shape != (3,) or covariance.shape != (9, 9) or not np.isfinite(position).all():
            return
        self.gaussian("position", stamp_ns, position, covariance[6:, 6:], row)
        x, y, z, w = quaternion
        ahead = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
        path, colour = f"scene/robot{row or ''}", rgb([colour_of(row)])
        arrow = self._rr.Arrows3D(origins=[position], vectors=[ahead], colors=colour, radii=0.06)
        self._recording.log(path, stamp_ns, arrow)
        trails = self._trails.setdefault(path, Trails(WAY))
        lines = trails.add(position[None], np.array([row]))
        self._recording.log(f"{path}/way", stamp_ns, strips(self._rr, lines))

    def _skip(self, path: str) -> bool:
        """Say whether this row is one of those that are left out."""
        number = self._count.get(path, 0)
        self._count[path] = number + 1
        return number % self.every != 0


def _path(root: str, name: str, row: int) -> str:
    """Return where something stands; names may have slashes, which make groups."""
    return f"{root}/{name}/robot {row}".replace(" ", "_") if row else f"{root}/{name}".replace(" ", "_")


def _flat(values: npt.ArrayLike) -> Numbers:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _boxes(boxes: npt.ArrayLike) -> Numbers:
    table = np.asarray(boxes, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 7:
        raise ValueError(f"boxes have shape {table.shape}: give (N, 7): x, y, z, length, width, height, yaw.")
    return table


def _finite(table: Numbers) -> npt.NDArray[np.bool_]:
    """Say of which rows (N, ...) all numbers are finite."""
    return np.asarray([bool(np.isfinite(row).all()) for row in table], dtype=np.bool_)
