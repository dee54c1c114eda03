"""Turns between poses, integrated side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.imu import so3

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Turns:
    """Angular rates of n turns, padded with zeros to the longest.

    Args:
        angles: Rate times duration, shape (n, T, 3), rad.
    """

    angles: Tensor

    @classmethod
    def of(cls, rates: Values, gaps: Values, turns: list[slice]) -> Turns:
        """Cut turns out of rates (T, 3) with gaps (T - 1,) in seconds; between two samples their mean holds."""
        steps = (rates[1:] + rates[:-1]) / 2 * gaps[:, None]
        pieces = [torch.from_numpy(steps[turn.start : turn.stop - 1]) for turn in turns]
        return cls(torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True))

    def carried(self, matrix: Values, vectors: Values) -> Values:
        """Return vectors (n, 3), still in the world, as seen after each turn, with rates put right by a matrix."""
        steps = so3.exponential(self.angles @ torch.from_numpy(matrix).mT)
        whole = so3.running_product(steps.mT)[..., -1]
        return so3.rotate(so3.conjugate(whole), torch.from_numpy(vectors)).numpy()
