"""A tracker's answer without the room that is left empty in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Outputs = Mapping[str, npt.NDArray[Any]]
_TRACKS = {"count", "identity", "box", "covariance"}


def is_tracks(outputs: Mapping[str, Any]) -> TypeGuard[Outputs]:
    """Say whether an answer is a tracker's, see `mambats.streaming.engines.tracker`."""
    return outputs.keys() >= _TRACKS


def told(outputs: Outputs) -> dict[str, npt.NDArray[Any]]:
    """Return the rows of the tracks that there are, and what is no row of a track as it is."""
    count, room = int(outputs["count"]), len(outputs["identity"])
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return {name: array[:count] if array.ndim and len(array) == room else array for name, array in arrays.items()}


def plain_outputs(outputs: Outputs) -> Outputs:
    """Return an answer as it is written down: a tracker's as `told`, any other as it is."""
    return told(outputs) if is_tracks(outputs) else outputs
