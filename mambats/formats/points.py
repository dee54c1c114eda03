"""LiDAR sweeps as KITTI and nuScenes keep them: float32 behind one another, no header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.repair import REFUSE, Policy

Points = npt.NDArray[np.float32]


def read_points(path: Path, channels: tuple[str, ...], policy: Policy = REFUSE) -> tuple[Points, tuple[str, ...]]:
    """Read the points of one sweep: float32 behind one another, no header.

    Args:
        path: Binary file.
        channels: Names of the numbers of a point.
        policy: `torn='repair'` leaves out a last point that is cut off.

    Returns:
        Points (n, C), those that are not finite left out, and the lines to report.

    Raises:
        DataError: If the file cannot be read or its size is not a multiple of a point's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    size, repairs = 4 * len(channels), list[str]()
    whole, rest = divmod(len(content), size)
    if rest and policy.torn == "refuse":
        raise DataError(
            f"{path}: has {len(content)} bytes, no multiple of {size} (float32 {' '.join(channels)}): {rest} from "
            f"byte {whole * size} on are no whole point. Cut off, or another layout? Then torn='repair'."
        )
    if rest:
        repairs.append(f"{path}: a last point cut off after {rest} of {size} bytes, left out")
    points = np.frombuffer(content, dtype="<f4", count=whole * len(channels)).reshape(-1, len(channels))
    lost = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if lost.size:
        first = f"the first is point {lost[0]} at byte {int(lost[0]) * size}"
        repairs.append(f"{path}: {lost.size} points that are not finite, left out, {first}")
        points = np.delete(points, lost, axis=0)
    return points, tuple(repairs)
