"""Points in space to pixels of a pinhole camera, and how a body moved between two stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.series import Stream

Matrix = npt.NDArray[np.float64]
POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Seen:
    """Points that a camera sees.

    Args:
        pixels: Column and row of each, shape (n, 2); the middle of the first pixel is (0, 0).
        depth: Distance along the optical axis in metres, shape (n,).
        rows: Which of the given points they are, shape (n,), rising.
    """

    pixels: Matrix
    depth: Matrix
    rows: npt.NDArray[np.int64]


def project(
    points: npt.NDArray[np.floating],
    transform: Matrix,
    intrinsics: Matrix,
    *,
    size: tuple[int, int] | None = None,
    distortion: tuple[float, ...] = (),
    nearest: float = 0.1,
) -> Seen:
    """Project points; those behind the camera, nearer than `nearest` or outside of the picture are left out.

    Args:
        points: Shape (N, 3) in metres, in any frame.
        transform: Maps them to the camera's optical frame (x right, y down, z forward), shape (4, 4).
        intrinsics: Pinhole matrix in pixels, shape (3, 3).
        size: Width and height of the picture in pixels, or None for no border.
        distortion: k1 k2 p1 p2 [k3] of the plumb-bob model (OpenCV's), empty for none. It holds near the picture
            only: points more than twice as far from the axis as a corner are left out before.
        nearest: Least depth in metres.

    Raises:
        ValueError: If a shape is wrong or the distortion has another number of coefficients.
    """
    if points.ndim != 2 or points.shape[1] != 3 or transform.shape != (4, 4) or intrinsics.shape != (3, 3):
        raise ValueError(
            f"points are {points.shape}, transform {transform.shape}, intrinsics {intrinsics.shape}: "
            "needed (N, 3), (4, 4) and (3, 3)."
        )
    if len(distortion) not in (0, 4, 5):
        raise ValueError(f"distortion has {len(distortion)} coefficients, needed k1 k2 p1 p2 [k3] or none.")
    there = points.astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]
    rows = np.flatnonzero(there[:, 2] >= nearest)
    there = there[rows]
    plane = there[:, :2] / there[:, 2:]
    if size is not None:
        near = np.abs(plane).max(axis=1, initial=0) <= 2 * _widest(intrinsics, size)
        rows, there, plane = rows[near], there[near], plane[near]
    if distortion:
        plane = _distorted(plane, distortion)
    pixels = plane @ intrinsics[:2, :2].T + intrinsics[:2, 2]
    inside = np.ones(len(rows), dtype=np.bool_)
    if size is not None:
        inside = ((pixels >= -0.5) & (pixels < np.array(size) - 0.5)).all(axis=1)
    return Seen(pixels[inside], there[inside, 2], rows[inside])


def motion_between(pose: Stream, earlier: int, later: int) -> Matrix:
    """Return how a body moved: maps points given in the body at `earlier` to the body at `later`, for a still world.

    Between stamps positions go straight and rotations along the shortest arc.

    Args:
        pose: Of the body in a fixed frame, channels px py pz qx qy qz qw.
        earlier: Stamp in int64 nanoseconds; may be after `later`.
        later: Stamp in int64 nanoseconds.

    Returns:
        Matrix (4, 4).

    Raises:
        ValueError: If a channel is missing or the pose does not reach a stamp.
    """
    return np.linalg.inv(_pose_at(pose, later)) @ _pose_at(pose, earlier)


def _pose_at(pose: Stream, stamp: int) -> Matrix:
    from scipy.spatial.transform import Rotation

    if missing := [name for name in POSE if name not in pose.channels]:
        raise ValueError(f"the pose has no {', '.join(missing)}, its channels are {', '.join(pose.channels)}.")
    if not len(pose) or not pose.stamps[0] <= stamp <= pose.stamps[-1]:
        reach = f"from {pose.stamps[0]} to {pose.stamps[-1]}" if len(pose) else "nowhere"
        raise ValueError(f"the pose reaches {reach} ns, asked for {stamp} ns: the streams do not overlap there.")
    after = max(1, int(np.searchsorted(pose.stamps, stamp))) if len(pose) > 1 else 0
    pair = [max(0, after - 1), after]
    values = pose.values[pair][:, [pose.channels.index(name) for name in POSE]].astype(np.float64)
    step = int(pose.stamps[pair[1]] - pose.stamps[pair[0]])
    share = (stamp - int(pose.stamps[pair[0]])) / step if step else 0.0
    first, second = Rotation.from_quat(values[:, 3:])
    made = np.eye(4)
    made[:3, :3] = (first * Rotation.from_rotvec(share * (first.inv() * second).as_rotvec())).as_matrix()
    made[:3, 3] = values[0, :3] + share * (values[1, :3] - values[0, :3])
    return made


def _widest(intrinsics: Matrix, size: tuple[int, int]) -> float:
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size], dtype=np.float64) - intrinsics[:2, 2]
    return float(np.abs(corners @ np.linalg.inv(intrinsics[:2, :2]).T).max())


def _distorted(plane: Matrix, coefficients: tuple[float, ...]) -> Matrix:
    k1, k2, p1, p2 = coefficients[:4]
    k3 = coefficients[4] if len(coefficients) > 4 else 0.0
    x, y = plane[:, 0], plane[:, 1]
    square = x * x + y * y
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
            y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=1,
    )
