"""A LiDAR sweep drawn on a camera's picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.pictures.canvas import new_figure, save
from mambats.pictures.projection import motion_between, project
from mambats.series import ImageStream, RaggedStream, Recording

WIDTH = 11.0  # inches
FAR = 99.5  # percentile of depth at which the colours end: a few far points would else take them all


def plot_lidar_on_image(
    recording: Recording,
    path: Path | str,
    *,
    camera: str = "",
    row: int = 0,
    lidar: str = "lidar",
    body: str = "",
    boxes: str = "",
) -> Path:
    """Draw the sweep nearest in time on a picture, coloured by depth.

    Args:
        recording: With frames that join the LiDAR and the camera.
        path: PNG file; its folder is made.
        camera: Stream of pictures with intrinsics; empty for the first.
        row: Which picture.
        lidar: Stream of sweeps with x y z in metres and a frame.
        body: Frame whose `pose` the recording has (as truth or stream): points are moved to where they are seen from
            at the picture's stamp. Empty leaves them where they were at the sweep's. All points of a sweep are taken
            as measured at its stamp: undistort it first where it took long.
        boxes: Stream with left, top, right, bottom in pixels to draw as well; empty for none.

    Returns:
        The path.

    Raises:
        ValueError: If a stream, its frame, intrinsics or a transform is missing; names it.
        ModuleNotFoundError: If matplotlib or Pillow is not installed.
    """
    camera = camera or next(iter(recording.images), "")
    pictures = _stream(recording.images, camera, "pictures", recording.name)
    sweeps = _stream(recording.ragged, lidar, "sweeps", recording.name)
    if pictures.intrinsics is None:
        raise ValueError(f"{recording.name}, {camera}: has no intrinsics, so nothing can be projected on it.")
    if not len(sweeps):
        raise ValueError(f"{recording.name}, {lidar}: has no sweep.")
    image, stamp = pictures.image(row), int(pictures.stamps[row])
    sweep = int(np.abs(sweeps.stamps - stamp).argmin())
    size = (image.shape[1], image.shape[0])
    transform = _transform(recording, pictures, sweeps, (stamp, int(sweeps.stamps[sweep])), body)
    points = sweeps.table(sweep)[:, [sweeps.channels.index(name) for name in ("x", "y", "z")]]
    seen = project(points, transform, pictures.intrinsics, size=size, distortion=pictures.distortion)
    figure, axes = _paper(image)
    _draw_points(figure, axes, seen.pixels, seen.depth, size)
    if boxes:
        _draw_boxes(axes, _stream(recording.ragged, boxes, "boxes", recording.name), stamp)
    late = (int(sweeps.stamps[sweep]) - stamp) / 1e6
    clock = f", sweep {late:+.1f} ms" + (f", moved with {body}" if body else "") if late else ""
    axes.set_title(f"{recording.name}: {len(seen.rows):,} of {len(points):,} points on {camera}{clock}", fontsize=9)
    return save(figure, path)


def _stream(streams: Any, name: str, what: str, recording: str) -> Any:
    if name not in streams:
        raise ValueError(f"{recording}: has no {what} named {name!r}, it has {', '.join(streams) or 'none'}.")
    return streams[name]


def _transform(
    recording: Recording, pictures: ImageStream, sweeps: RaggedStream, stamps: tuple[int, int], body: str
) -> npt.NDArray[np.float64]:
    """Maps points of the sweep to the camera."""
    if not body:
        return recording.frames.transform(pictures.frame, sweeps.frame)
    pose = recording.truth.get("pose", recording.streams.get("pose"))
    if pose is None:
        raise ValueError(f"{recording.name}: has no pose to move points with. Leave `body` out, or add one.")
    to_body, to_camera = (
        recording.frames.transform(body, sweeps.frame),
        recording.frames.transform(pictures.frame, body),
    )
    return to_camera @ motion_between(pose, stamps[1], stamps[0]) @ to_body


def _paper(image: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
    height, width = image.shape[:2]
    figure = new_figure(WIDTH, WIDTH * 0.93 * height / width + 0.35)
    axes = figure.subplots()
    axes.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    return figure, axes


def _draw_points(
    figure: Any, axes: Any, pixels: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], size: tuple[int, int]
) -> None:
    from matplotlib.colors import LogNorm

    if not len(depth):
        axes.annotate("no point is seen", (0.5, 0.5), xycoords="axes fraction", ha="center", color="white")
        return
    near, far = float(depth.min()), float(np.percentile(depth, FAR))
    order = np.argsort(-depth)  # the nearest are drawn last
    room = size[0] * size[1] / len(depth) * (WIDTH * 72 / size[0]) ** 2  # of a point, in square points of print
    look = {"cmap": "turbo_r", "norm": LogNorm(near, max(far, near * 1.01)), "linewidths": 0}
    dots = axes.scatter(*pixels[order].T, c=depth[order], s=float(np.clip(0.2 * room, 1, 5)), **look)
    bar = figure.colorbar(dots, cax=axes.inset_axes((1.008, 0.0, 0.012, 1.0)), extend="max")
    marks = [mark for mark in (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100) if near <= mark <= far]
    bar.set_ticks(marks, labels=[str(mark) for mark in marks], minor=False)
    bar.set_ticks([], minor=True)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("depth [m]", fontsize=8)


def _draw_boxes(axes: Any, boxes: RaggedStream, stamp: int) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    row = int(np.abs(boxes.stamps - stamp).argmin())
    words = boxes.labels.get("class", ())
    code = boxes.channels.index("class") if "class" in boxes.channels else None
    for box in boxes.table(row):
        left, top, right, bottom = (float(box[boxes.channels.index(n)]) for n in ("left", "top", "right", "bottom"))
        word = words[int(box[code])] if words and code is not None else ""
        if word == "DontCare":
            continue
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="white", linewidth=1.2))
        text = axes.annotate(word, (left, top), xytext=(0, 2), textcoords="offset points", color="white", fontsize=7)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])
