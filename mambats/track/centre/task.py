"""The Lightning skin of a centre detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.task import Optimiser, Stage, StreamsTask
from mambats.track.centre.model import CentreDetector, Found
from mambats.track.centre.report import DetectReport
from mambats.track.centre.sweeps import SweepBatch


class DetectTask(StreamsTask):
    """Train, validate and test a `CentreDetector` on sweeps with boxes (`SweepModule`).

    Args:
        model: The detector.
        optimiser: Optimiser settings.
        mirror: Share of training sweeps in which left and right are swapped.
        thin: Share of training sweeps that keep a random part of their points, 1 in 50 to all.
        absent: Share of training sweeps without points, and of others without pictures, where the model has a camera:
            so that it works with either alone.

    Raises:
        ValueError: If `mirror`, `thin` or twice `absent` is no share; from `setup`, if the data has other classes.
    """

    def __init__(
        self,
        model: CentreDetector,
        optimiser: Optimiser | None = None,
        mirror: float = 0.5,
        thin: float = 0.2,
        absent: float = 0.1,
    ) -> None:
        super().__init__(optimiser)
        if not (0 <= mirror <= 1 and 0 <= thin <= 1 and 0 <= absent <= 0.5):
            raise ValueError(f"mirror is {mirror}, thin {thin}, absent {absent}: needed 0 to 1, 0 to 1, 0 to 0.5.")
        self.model, self.mirror, self.thin, self.absent = model, mirror, thin, absent

    def setup(self, stage: str) -> None:
        """Note what the data is, and check that it has the model's classes."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if tuple(data.classes) != self.model.classes:
            raise ValueError(
                f"classes of {data.name} are {data.classes}, of the model {self.model.classes}: name the same."
            )
        if stage == "fit":
            self.source, self.fingerprint = data.name, data.fingerprint
            self.channels, self.period_ns = tuple(data.channels), data.period_ns

    def shared_step(self, batch: SweepBatch, stage: Stage) -> Tensor:
        """Return the loss of a batch; log it and its parts."""
        if stage == "train":
            batch = varied(batch, self.mirror, self.thin, self.absent if self.model.camera is not None else 0.0)
        parts = self.model.losses(batch)
        loss = torch.stack(list(parts.values())).sum()
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch.points))
        self.log_dict({f"{stage}_{name}": part for name, part in parts.items()}, batch_size=len(batch.points))
        return loss

    def test_step(self, batch: SweepBatch, batch_idx: int) -> Found:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return what is found, which the report scores beside the clusters."""
        return self.model.find(batch.points, batch.images, batch.projection)

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table and picture of a test."""
        return DetectReport(name, folder)


#: Least share of the points that a thinned sweep keeps: 200 of 10,000.
SPARSE = 0.02


def varied(batch: SweepBatch, mirror: float, thin: float, absent: float) -> SweepBatch:
    """Return a batch with a share mirrored, a share thinned, a share without points and another without pictures."""
    lots = torch.rand(3, len(batch.points), device=batch.points.device)
    batch = batch.mirrored(lots[0] < mirror)
    if thin:
        batch = batch.thinned(torch.where(lots[1] < thin, SPARSE ** (lots[1] / thin), 1.0))
    if not absent or batch.images is None:
        return batch
    lot = torch.rand(len(batch.points), device=batch.points.device)
    return batch.without(lot < absent, lot > 1 - absent)
