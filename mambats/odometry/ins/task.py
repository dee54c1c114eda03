"""What the tasks without fixes share: a first epoch that trains nothing, a test that is a report, and checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mambats.odometry.ins.starts import Starts
from mambats.recipe import describe, rebuild, with_setting
from mambats.task import Optimiser, Stage, StreamsTask

#: Share of the untrained loss by which training must lower it to count: one part of one drive validates, and windows
#: overlap. Kept for gains of 0.1 % and less, learned noise lost 4 to 10 % in the test of the drive (GTSAM's), a learned
#: bias 5 % in that of the flight (EuRoC MH_01).
_MARGIN = 0.01


class AloneTask(StreamsTask):
    """Train something on windows in which nothing corrects an inertial unit.

    The first epoch trains nothing, and the `val_loss` of later ones is raised by a margin: what is learned is kept only
    where it pays, and more than by chance, on a part of the recording that it was not trained on. Else the best
    checkpoint is what the model was before.

    Args:
        model: What is trained; computed in float64.
        optimiser: Optimiser settings.
        lengths: Seconds of the windows tested.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest.

    Raises:
        ValueError: If there is no length, or one below a second.
    """

    model: Any

    def __init__(self, model: nn.Module, optimiser: Optimiser | None, lengths: Sequence[int], no_mixer: bool) -> None:
        super().__init__(optimiser)
        if not lengths or min(lengths) < 1:
            raise ValueError(f"lengths are {list(lengths)}: need seconds, one or more, from 1 on.")
        if no_mixer:
            model = rebuild(with_setting(describe(model), "no_mixer", True))
        self.model, self.lengths, self.no_mixer = model.double(), lengths, no_mixer
        self._untrained = dict[int, Tensor]()

    @abstractmethod
    def cost(self, batch: Starts, stage: Stage) -> Tensor:
        """Return what is minimised over a batch of windows."""

    @property
    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """Seconds that windows of training and of validation take."""

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]

    def setup(self, stage: str) -> None:
        """Note what the data is, and tell it how long windows are (Lightning calls this after the data's setup)."""
        if stage == "fit":
            self.source, self.fingerprint = self._data.name, self._data.fingerprint
            self.channels, self.period_ns = self._data.channels, self._data.period_ns
            self._data.lay_out(*self.reach)

    def shared_step(self, batch: Starts, stage: Stage) -> Tensor:
        """Return the loss of a batch; in the first epoch of training 0, with gradients of 0."""
        if stage == "train" and self.current_epoch == 0:
            return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
        loss = self.cost(batch, stage)
        self.log(f"{stage}_loss", loss + self._handicap(batch, stage, loss), prog_bar=True, batch_size=len(batch.rows))
        return loss

    def _handicap(self, batch: Starts, stage: Stage, loss: Tensor) -> Tensor:
        """Return what validation adds to the loss of a model that was trained."""
        if stage == "val" and self.current_epoch == 0:
            self._untrained[batch.recording] = loss.detach()
        before = self._untrained.get(batch.recording) if stage == "val" and self.current_epoch > 0 else None
        return torch.zeros_like(loss) if before is None else _MARGIN * before.abs()

    def test_step(self, batch: Starts, batch_idx: int) -> Tensor:
        """Score nothing here: the report lets all contestants cross the same windows."""
        return torch.zeros((), device=self.device)
