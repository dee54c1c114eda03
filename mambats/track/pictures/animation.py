"""A sequence from above as an animated GIF."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mambats.results import write_whole
from mambats.track.pictures.above import IDENTITIES, TRAIL, draw_frame, extent, furnish, paper
from mambats.track.pictures.scene import Scene

DPI = 80
_SHADES = np.array([0.15, 0.3, 0.45, 0.6, 0.8, 1.0])  # of each colour on white, for edges and faces
FASTEST = 20  # ms a frame: viewers show what is faster at 100 ms


def animate_above(scene: Scene, path: Path | str, *, most: int = 150, trail: float = TRAIL, speed: float = 1.0) -> Path:
    """Draw a sequence frame by frame, at its own speed; of long ones every second, third, ... frame.

    Args:
        scene: Of a sequence.
        path: GIF file; its folder is made.
        most: Frames drawn at most.
        trail: Seconds of the past that are drawn behind a track.
        speed: Times faster than it was.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame, or `most` or `speed` is not above 0.
        ModuleNotFoundError: If matplotlib or Pillow is not installed.
    """
    if not len(scene.stamps) or most < 1 or not speed > 0:
        raise ValueError(f"{scene.name} has {len(scene.stamps)} frames, most {most}, speed {speed}: need 1 or more.")
    every = math.ceil(len(scene.stamps) / most)
    frames = list(range(0, len(scene.stamps), every))
    corner = extent(scene)
    figure, axes = paper(*corner, DPI)
    furnish(axes, scene, corner)
    figure.canvas.draw()
    empty, in_colours = figure.canvas.copy_from_bbox(figure.bbox), _painter()
    pictures = [in_colours(_pixels(figure, axes, empty, lambda f=f: draw_frame(axes, scene, f, trail))) for f in frames]
    steps = np.diff(scene.stamps[frames], append=scene.stamps[frames[-1]] + 10**9) / 1e6 / speed
    content = io.BytesIO()
    pauses = [max(int(step), FASTEST) for step in steps]  # the last one stands a second
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=pauses, loop=0, optimize=False)
    return write_whole(path, content.getvalue())


def _pixels(figure: Any, axes: Any, empty: Any, draw: Callable[[], None]) -> Any:
    """Return pixels (H, W, 3) of what is drawn on the empty paper: ticks and legend cost most and are drawn once."""
    known = set(axes.get_children())
    draw()
    figure.canvas.restore_region(empty)
    for artist in sorted(set(axes.get_children()) - known, key=lambda one: one.get_zorder()):
        axes.draw_artist(artist)
        artist.remove()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _painter() -> Callable[[Any], Any]:
    """Return what makes a picture of pixels, in the colours that are drawn: one palette keeps the file small."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("animations need Pillow: pip install 'mambats[plot]'.", name=error.name) from error
    drawn = np.array([list(bytes.fromhex(colour[1:])) for colour in (*IDENTITIES, "#7F7F7F")])
    shades = 255 + _SHADES[:, None] * (drawn[:, None] - 255)
    table = np.concatenate([np.full((1, 3), 255), shades.reshape(-1, 3)]).astype(np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette(table.tobytes())
    return lambda pixels: Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)
