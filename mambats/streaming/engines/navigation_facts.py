"""What the engines of a navigator share: its streams, its answers, where a run starts. Loads numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.engines.facts import Arrays, fingerprint

#: In the order of a tick's graph; beside them stands `QUERY`, which asks.
STREAMS = ("imu", "gnss", "wheel")
QUERY = "query"
#: Numbers a row of each stream has.
WIDTHS: Mapping[str, int] = {"imu": 6, "gnss": 3, "wheel": 2}
#: Arrays a stream is given as: values (B, N, C), stamps (B, N) since the tick's begin, which are there (B, N).
PARTS = ("values", "stamps", "there")
ANSWERS: Mapping[str, tuple[int, ...]] = {
    "position": (3,), "quaternion": (4,), "velocity": (3,), "covariance": (9, 9),
}  # fmt: skip


def start_of(start: Sequence[float] | None) -> npt.NDArray[np.float64]:
    """Return where a run starts, px py pz qx qy qz qw vx vy vz, its quaternion of length 1.

    Args:
        start: None for the origin, level, facing x, at rest.

    Raises:
        ValueError: If it is not ten finite numbers with a quaternion.
    """
    given = np.array(start if start is not None else [0, 0, 0, 0, 0, 0, 1, 0, 0, 0], np.float64)
    if given.shape != (10,) or not np.isfinite(given).all() or not np.linalg.norm(given[3:7]) > 0:
        raise ValueError(f"start is {start}: need px py pz qx qy qz qw vx vy vz, with a quaternion that is not 0.")
    given[3:7] /= np.linalg.norm(given[3:7])
    return given


def navigator_identity(recipe: Mapping[str, Any], start: npt.NDArray[np.float64], weights: Arrays) -> str:
    """Return the sha256 of a navigator and where it starts: the same for a checkpoint and its bundle.

    Args:
        recipe: What `mambats.recipe.describe` says of it.
        start: Of `start_of`.
        weights: By name.
    """
    return fingerprint({"model": recipe, "start": start.tolist()}, weights)
