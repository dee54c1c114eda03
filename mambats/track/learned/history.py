"""A run whose tracks moved with noise of their own, which hindsight has to know of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.track.history import History
from mambats.track.learned.model import InnovationNoise, Memory, Settings


class CalibratedHistory(History):
    """A history that goes back over the process noise which was said of each track at each frame.

    With the motion's own noise in its place the smoother does not invert the filter that ran.

    Args:
        history: Of the run.
        model: That set the noise.
        settings: Of its class.
        memories: After each frame, a row a track.
    """

    def __init__(
        self, history: History, model: InnovationNoise, settings: Settings, memories: Sequence[Memory]
    ) -> None:
        super().__init__(history.frames, history.predictor)
        self.model, self.settings = model, settings
        identities = [frame.tracks.identity for frame in history.frames]
        if not identities:
            nothing = model.init_state(0)
            self._said, self._level = nothing.said, nothing.level
            return
        number = torch.cat([torch.full_like(one, f) for f, one in enumerate(identities)])
        order = torch.argsort(torch.cat(identities) * (len(identities) + 1) + number)  # rows as in the table
        self._said = torch.cat([one.said for one in memories])[order]
        self._level = torch.cat([one.level for one in memories])[order]

    def step(self, rows: Tensor, mean: Tensor, elapsed: float) -> tuple[Tensor, Tensor]:
        """Return the matrices and the noise by which the states of rows, at `mean`, went on for some seconds."""
        matrix = self.predictor.step(mean, elapsed)[0]
        return matrix, self.model.process(elapsed, self.settings, Memory(None, self._said[rows], self._level[rows]))
