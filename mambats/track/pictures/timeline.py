"""When which track was there: a bar a track, pale where it coasted; and how many there were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.track.pictures.scene import Scene, Whole

WIDTH = 10.0  # inches
APART = 45  # tracks up to which each has a row of its own; more share rows
ROOM = 0.045  # of the whole time between two tracks in a row: a name stands there


def draw_timeline(scene: Scene, path: Path | str) -> Path:
    """Draw the life of every track, coloured by class, and below how many detections and tracks a frame has.

    Args:
        scene: Of a sequence.
        path: PNG file; its folder is made.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    if not len(scene.stamps):
        raise ValueError(f"{scene.name} has no frame: there is nothing to draw.")
    lives = scene.lives
    period = float(np.median(np.diff(scene.seconds))) if len(scene.stamps) > 1 else 0.1
    rows = _rows(lives, scene.frame, max(1, round(ROOM * len(scene.stamps))))
    high = max(1.0, 0.17 * (max(rows, default=0) + 1))
    figure = new_figure(WIDTH, high + 2.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(high, 1.1))
    for row, life in zip(rows, lives, strict=True):
        _draw_life(above, scene, life, row, period)
    _finish(above, scene, rows, len(lives))
    _draw_counts(below, scene)
    below.set(xlabel="time [s]", xlim=(0, scene.seconds[-1] + period))
    return save(figure, path)


def _rows(lives: list[Whole], frame: Whole, room: int) -> list[int]:
    """Return the row of each track: its own, or where there are many the first that has been free for `room` frames."""
    if len(lives) <= APART:
        return list(range(len(lives)))
    free, rows = list[int](), list[int]()
    for life in lives:
        first, last = int(frame[life[0]]), int(frame[life[-1]])
        row = next((k for k, until in enumerate(free) if until + room < first), len(free))
        rows.append(row)
        free[row : row + 1] = [last]
    return rows


def _draw_life(axes: Any, scene: Scene, life: Whole, row: int, period: float) -> None:
    colour = COLOURS[int(scene.label[life[0]]) % len(COLOURS)]
    frames, coasting = scene.frame[life], scene.coasting[life]
    axes.plot(scene.seconds[frames[[0, -1]]], (row, row), color=colour, linewidth=1.0, solid_capstyle="butt")
    for rest, look in ((False, {"facecolors": colour}), (True, {"facecolors": _pale(colour)})):
        some = frames[coasting == rest]
        ends = np.flatnonzero(np.diff(some) > 1) + 1
        runs = [part for part in np.split(some, ends) if len(part)]
        bars = [(scene.seconds[part[0]], scene.seconds[part[-1]] + period - scene.seconds[part[0]]) for part in runs]
        axes.broken_barh(bars, (row - 0.38, 0.76), linewidth=0, **look)
    axes.annotate(scene.word(int(life[0])), (scene.seconds[frames[0]], row), xytext=(-2, 0), va="center", ha="right",
                  textcoords="offset points", fontsize=6.5, color="#404040")  # fmt: skip


def _finish(axes: Any, scene: Scene, rows: list[int], count: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=COLOURS[k % len(COLOURS)], label=name) for k, name in enumerate(scene.classes)]
    handles.append(Patch(facecolor=_pale("#000000"), label="told without a detection"))
    handles.append(Line2D([], [], color="#000000", linewidth=1.0, label="not told of"))
    words = f"{scene.heading}; {count} tracks" + ("" if count <= APART else ", several in a row")
    axes.set_title(words, fontsize=10, loc="left", pad=20)
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(handles), fontsize=8,
                frameon=False, borderaxespad=0.1)  # fmt: skip
    axes.set(ylim=(max(rows, default=0) + 0.7, -0.7), yticks=[])
    axes.set_ylabel("tracks, by birth", labelpad=34)  # points: names of tracks that begin at once stand there
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_counts(axes: Any, scene: Scene) -> None:
    """Draw how many detections and tracks each frame has."""
    counted = {"detections": (scene.seen_frame, "#8A8A8A"), "tracks": (scene.frame, "#000000")}
    for number, (name, (frames, colour)) in enumerate(counted.items()):
        counts = np.bincount(frames, minlength=len(scene.stamps))
        axes.step(scene.seconds, counts, where="post", color=colour, linewidth=1.0 + 0.4 * number, label=name)
    axes.set(ylabel="a frame")
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, fontsize=8, frameon=False, borderaxespad=0.1)
    axes.spines[["top", "right"]].set_visible(False)


def _pale(colour: str) -> str:
    """Mix a colour with three parts of white: opaque, so that nothing shines through."""
    return "#" + "".join(f"{round(255 - (255 - part) * 0.27):02X}" for part in bytes.fromhex(colour[1:]))
