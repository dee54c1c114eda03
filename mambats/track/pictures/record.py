"""A sequence of tracks on Rerun's time line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mambats.pictures.rerun import StreamView
from mambats.track.pictures.scene import Numbers, Scene

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def record_tracks(
    scene: Scene,
    view: StreamView,
    *,
    points: Mapping[int, Numbers] | None = None,
    images: Mapping[int, Pixels] | None = None,
) -> None:
    """Write detections, tracks with ids, trails and ellipsoids, and what sensors saw where it is at hand.

    Args:
        scene: Of a sequence.
        view: To write to; it is not closed.
        points: Sweeps (P, 3) in metres by frame; any frames.
        images: Pictures (H, W, 3) uint8 by frame; tracks that have pixels are drawn on them.
    """
    begins = np.concatenate([[0], np.cumsum(np.bincount(scene.frame, minlength=len(scene.stamps)))])
    order = np.argsort(scene.frame, kind="stable")
    for frame, stamp in enumerate(scene.stamps.tolist()):
        rows = order[begins[frame] : begins[frame + 1]]
        seen = scene.seen[scene.seen_frame == frame]
        words = [scene.word(row) + (" coasting" if scene.coasting[row] else "") for row in rows.tolist()]
        covariance = None if scene.covariance is None else scene.covariance[rows]
        view.boxes(stamp, seen)
        view.tracks(stamp, scene.boxes[rows], scene.identity[rows], covariance, words)
        view.counters(stamp, {"detections": len(seen), "tracks": len(rows)})
        if points is not None and frame in points:
            view.points(stamp, points[frame])
        if images is not None and frame in images:
            view.image(stamp, images[frame])
        if images is not None and scene.pixels is not None:
            view.rectangles(stamp, scene.pixels[rows], words, scene.identity[rows])
