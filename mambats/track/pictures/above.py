"""A frame from above: boxes with ids and 95 % ellipses, where tracks came from, what was detected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mambats.pictures.canvas import COLOURS, new_figure, save
from mambats.pictures.ellipsoid import half_axes
from mambats.track.pictures.scene import Numbers, Scene

#: Colours of tracks in the order of their births, over and over; grey is for detections.
IDENTITIES = COLOURS[:7]
TRAIL = 3.0  # s
WIDTH = 9.0  # inches
_SQUARE = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
_FRONT = np.array([[0.28, 0.5], [0.5, 0.0], [0.28, -0.5]])
_ROUND = np.stack([np.cos(np.linspace(0, 2 * np.pi, 36)), np.sin(np.linspace(0, 2 * np.pi, 36))], axis=1)


def draw_above(scene: Scene, path: Path | str, *, frame: int | None = None, trail: float = TRAIL) -> Path:
    """Draw one frame, x forward to the right, y left upwards, the sensor at the origin.

    Args:
        scene: Of a sequence.
        path: PNG file; its folder is made.
        frame: Which; None takes the one with the most tracks.
        trail: Seconds of the past that are drawn behind a track.

    Returns:
        The path.

    Raises:
        ValueError: If there is no such frame.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    count = len(scene.stamps)
    if frame is None and count:
        frame = int(np.bincount(scene.frame, minlength=count).argmax())
    if frame is None or not 0 <= frame < count:
        raise ValueError(f"there is no frame {frame}: {scene.name} has {count}.")
    low, high = extent(scene)
    figure, axes = paper(low, high, 130)
    furnish(axes, scene, (low, high))
    draw_frame(axes, scene, frame, trail)
    return save(figure, path)


def paper(low: Numbers, high: Numbers, dpi: int) -> tuple[Any, Any]:
    """Return a figure as high as the scene asks for, and its axes; margins are in inches, so that frames are alike."""
    height = (WIDTH - 0.85) * (high[1] - low[1]) / (high[0] - low[0]) + 1.15
    figure = new_figure(WIDTH, height, constrained=False)
    figure.set_dpi(dpi)
    axes = figure.add_axes((0.65 / WIDTH, 0.5 / height, 1 - 0.85 / WIDTH, 1 - 1.15 / height))
    return figure, axes


def extent(scene: Scene) -> tuple[Numbers, Numbers]:
    """Return corners (2,) of what is shown in all frames: the sensor and all but the outermost of the boxes."""
    centres = np.concatenate([scene.boxes[:, :2], np.zeros((1, 2))])
    if len(scene.boxes) == 0 and len(scene.seen):
        centres = np.concatenate([centres, scene.seen[:, :2]])
    centres = centres[np.isfinite(centres).all(1)]
    low, high = np.quantile(centres, [0.005, 0.995], axis=0)
    low, high = np.minimum(low, 0.0) - 4.0, np.maximum(high, 0.0) + 4.0
    # Not flatter than three to one, a road ahead would be a strip, nor much higher than wide.
    lacking = np.maximum((high - low)[::-1] * np.array([1.1, 1 / 3]) - (high - low), 0.0)
    return low - lacking / 2, high + lacking / 2


def draw_frame(axes: Any, scene: Scene, frame: int, trail: float) -> None:
    """Draw what there is at a frame, and its title, into axes that are furnished."""
    from matplotlib.collections import LineCollection, PolyCollection

    words = f"{scene.heading}; frame {frame}, {scene.seconds[frame]:.1f} s"
    axes.annotate(words, (0, 1), xytext=(0, 22), xycoords="axes fraction", textcoords="offset points", fontsize=10,
                  annotation_clip=False)  # fmt: skip
    seen = corners(scene.seen[scene.seen_frame == frame])
    axes.add_collection(PolyCollection(list(seen), facecolors="none", edgecolors="#8A8A8A", linewidths=1.0, zorder=2))
    rows = np.flatnonzero(scene.frame == frame)
    colours = [IDENTITIES[turn % len(IDENTITIES)] for turn in scene.turn[rows]]
    trails = [_trail(scene, row, trail) for row in rows.tolist()]
    axes.add_collection(LineCollection(trails, colors=colours, linewidths=1.3, alpha=0.7, zorder=3))
    boxes = scene.boxes[rows]
    faces = [f"{c}{'00' if rest else '38'}" for c, rest in zip(colours, scene.coasting[rows], strict=True)]
    styles = [(0, (3, 2)) if rest else "solid" for rest in scene.coasting[rows]]
    look: dict[str, Any] = {
        "facecolors": faces,
        "edgecolors": colours,
        "linestyles": styles,
        "linewidths": 1.5,
        "zorder": 4,
    }
    axes.add_collection(PolyCollection(list(corners(boxes)), **look))
    axes.add_collection(LineCollection(list(_placed(boxes, _FRONT)), colors=colours, linewidths=1.2, zorder=4))
    if scene.covariance is not None:
        rings = _ellipses(boxes, scene.covariance[rows])
        axes.add_collection(PolyCollection(list(rings), facecolors=[f"{c}90" for c in colours], edgecolors=colours,
                                           linewidths=1.0, zorder=5))  # fmt: skip
    _write_names(axes, scene, rows, colours)


def furnish(axes: Any, scene: Scene, corner: tuple[Numbers, Numbers]) -> None:
    """Draw what is the same in all frames: the axes, the sensor and the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    low, high = corner
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x [m]", ylabel="y [m]")
    axes.set_aspect("equal")
    axes.grid(color="#EBEBEB", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.plot(0, 0, marker=(3, 0, -90), markersize=9, color="#000000", zorder=1.9)
    handles = [
        Line2D([], [], color="#8A8A8A", linewidth=1.0, label="detection"),
        Patch(facecolor="#00000038", edgecolor="#000000", label="track, seen"),
        Patch(facecolor="none", edgecolor="#000000", linestyle=(0, (3, 2)), label="track, coasting"),
        Line2D([], [], marker=(3, 0, -90), linestyle="none", color="#000000", label="sensor"),
    ]
    if scene.covariance is not None:
        handles.insert(3, Line2D([], [], marker="o", linestyle="none", markerfacecolor="#00000090",
                                 markeredgecolor="#000000", label="95 % of the centre"))  # fmt: skip
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(handles), fontsize=8,
                frameon=False, borderaxespad=0.1, handlelength=1.6, columnspacing=1.2)  # fmt: skip


def corners(boxes: Numbers) -> Numbers:
    """Return the four corners on the floor, shape (N, 4, 2)."""
    return _placed(boxes, _SQUARE)


def _placed(boxes: Numbers, shape: Numbers) -> Numbers:
    """Points of a shape in units of length and width, put where boxes stand, shape (N, P, 2)."""
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    return (shape * boxes[:, None, 3:5]) @ np.swapaxes(turn, 1, 2) + boxes[:, None, :2]


def _ellipses(boxes: Numbers, covariance: Numbers) -> Numbers:
    """Outlines of what holds the centre with 95 %, shape (N, P, 2)."""
    half, turn = half_axes(covariance[:, :2, :2])
    return (_ROUND * half[:, None]) @ np.swapaxes(turn, 1, 2) + boxes[:, None, :2]


def _trail(scene: Scene, row: int, seconds: float) -> Numbers:
    """Where a track was lately, as the sensor sees those places now, shape (P, 2)."""
    frame = scene.frame[row]
    same = (scene.identity == scene.identity[row]) & (scene.label == scene.label[row]) & (scene.frame <= frame)
    rows = np.flatnonzero(same & (scene.stamps[scene.frame] >= scene.stamps[frame] - seconds * 1e9))
    rows = rows[np.argsort(scene.frame[rows])]
    places = scene.boxes[rows, :2]
    if scene.poses is None:
        return places
    then, now = scene.poses[scene.frame[rows]], scene.poses[frame]
    cos, sin = np.cos(then[:, 3]), np.sin(then[:, 3])
    x = cos * places[:, 0] - sin * places[:, 1] + then[:, 0] - now[0]
    y = sin * places[:, 0] + cos * places[:, 1] + then[:, 1] - now[1]
    return np.stack([np.cos(now[3]) * x + np.sin(now[3]) * y, np.cos(now[3]) * y - np.sin(now[3]) * x], axis=1)


def _write_names(axes: Any, scene: Scene, rows: Any, colours: list[str]) -> None:
    from matplotlib.patheffects import withStroke

    for row, colour in zip(rows, colours, strict=True):
        x, y = corners(scene.boxes[row : row + 1])[0].max(0)
        text = axes.annotate(scene.word(row), (x, y), xytext=(1, 1), textcoords="offset points", fontsize=8,
                             color=colour, zorder=7, clip_on=True, annotation_clip=True)  # fmt: skip
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
