"""Boxes, ellipsoids and trails in Rerun's words, in colours that stand out on its dark paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import COLOURS
from mambats.pictures.ellipsoid import ellipsoids

Numbers = npt.NDArray[np.float64]
GREY = "#9A9A9A"
#: Colours of identities and curves, over and over: black would not be seen.
BRIGHT = (*COLOURS[:6], "#F0E442", "#FFFFFF")


class Trails:
    """Remembers the last places of tracks that are there.

    Args:
        length: Places of a track that are kept.
    """

    def __init__(self, length: int = 30) -> None:
        self.length, self._known = length, dict[int, list[Numbers]]()

    def add(self, places: Numbers, ids: npt.NDArray[np.int64]) -> dict[int, Numbers]:
        """Take the places (N, 3) of now; return lines (P, 3) by track. Tracks that are not among them are forgotten."""
        self._known = {
            int(i): [*self._known.get(int(i), [])[1 - self.length :], place]
            for i, place in zip(ids, places, strict=True)
        }
        return {i: np.stack(line) for i, line in self._known.items() if len(line) > 1}


def colour_of(identity: int) -> str:
    """Return the colour of a track."""
    return BRIGHT[identity % len(BRIGHT)]


def rgb(colours: Iterable[str]) -> list[list[int]]:
    """Return colours `#RRGGBB` as numbers."""
    return [list(bytes.fromhex(colour[1:])) for colour in colours]


def cuboids(rerun: Any, table: Numbers, colours: Sequence[str], words: Sequence[str] | None, solid: bool) -> Any:
    """Return boxes (N, 7): filled, or their edges alone."""
    turns = np.zeros((len(table), 4))
    turns[:, 2], turns[:, 3] = np.sin(table[:, 6] / 2), np.cos(table[:, 6] / 2)
    fill = "TransparentFillMajorWireframe" if solid else "MajorWireframe"
    return rerun.Boxes3D(
        centers=table[:, :3],
        sizes=table[:, 3:6],
        quaternions=turns,
        colors=rgb(colours),
        labels=words,
        radii=0.03 if solid else 0.015,
        fill_mode=getattr(rerun.components.FillMode, fill),
    )


def balls(rerun: Any, centres: Numbers, covariance: Numbers, colours: Sequence[str]) -> Any:
    """Return what holds centres (N, n) with 95 %, n of 2 or 3."""
    places, half, turns = ellipsoids(centres, covariance)
    return rerun.Ellipsoids3D(centers=places, half_sizes=half, quaternions=turns, colors=rgb(colours), line_radii=0.02)


def strips(rerun: Any, lines: dict[int, Numbers]) -> Any:
    """Return lines in the colours of their tracks."""
    return rerun.LineStrips3D(list(lines.values()), colors=rgb(colour_of(i) for i in lines), radii=0.03)


def origin(rerun: Any) -> Any:
    """Return an arrow of two metres from the origin ahead: there is the sensor, or the start of a world."""
    return rerun.Arrows3D(origins=[[0, 0, 0]], vectors=[[2.0, 0, 0]], colors=[[255, 255, 255]], radii=0.08)
