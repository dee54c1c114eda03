"""Answers of any model as JSON lines, numbers by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt


class AnswerLines:
    """Write an object a line: keys, then every output as nested lists; what is not finite is null.

    Args:
        sink: Open text.
    """

    def __init__(self, sink: TextIO) -> None:
        self.sink = sink

    def write(self, keys: Mapping[str, Any], outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one answer."""
        plain = {name: _plain(np.asarray(array)) for name, array in outputs.items()}
        self.sink.write(json.dumps({**keys, **plain}) + "\n")
        self.sink.flush()


def _plain(array: npt.NDArray[Any]) -> Any:
    if array.dtype.kind != "f" or bool(np.isfinite(array).all()):
        return array.tolist()
    made = array.astype(object)
    made[~np.isfinite(array)] = None
    return made.tolist()
