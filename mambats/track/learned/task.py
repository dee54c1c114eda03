"""The Lightning skin of a noise model, and the likelihood fit of its classical part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.task import Optimiser, Stage, StreamsTask
from mambats.track.behind import TRUE, UNKNOWN
from mambats.track.detector import ScoreCalibration
from mambats.track.learned.box import SIZE
from mambats.track.learned.data import Batches
from mambats.track.learned.guard import guard, level
from mambats.track.learned.model import InnovationNoise
from mambats.track.learned.paths import Paths
from mambats.track.learned.scan import Followed, follow


class NoiseTask(StreamsTask):
    """Train an `InnovationNoise`: first its classical part by likelihood, then what the encoder adds.

    Args:
        model: Of the classes of the data.
        optimiser: Optimiser settings of the encoder.
        tune: Epochs of Adam that fit the classical part before the encoder is trained, which then finds it fixed.
        rate: Learning rate of that fit, falling to 0.
        existence: Weight of the logistic loss of existence, nats a detection, beside nats a number of an innovation.
        confirmed: Log odds from which the tracker of each class tells of a track, see `level`; None for 1.

    Raises:
        ValueError: If a number is out of range; from `setup`, if the data has other classes.
    """

    def __init__(
        self,
        model: InnovationNoise,
        optimiser: Optimiser | None = None,
        tune: int = 8,
        rate: float = 0.05,
        existence: float = 1.0,
        confirmed: Sequence[float] | None = None,
    ) -> None:
        super().__init__(optimiser)
        if tune < 0 or not rate > 0 or existence < 0:
            raise ValueError(f"tune is {tune}, rate {rate}, existence {existence}: needed 0 or more, and a rate.")
        if confirmed is not None and len(confirmed) != len(model.classes):
            raise ValueError(f"confirmed has {len(confirmed)} numbers for {len(model.classes)} classes: give one each.")
        self.model, self.tune, self.rate, self.existence = model, tune, rate, existence
        self.confirmed = confirmed
        self._least = list(confirmed or [1.0] * len(model.classes))
        self.model.base.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Note what the data is, and fit the classical part before training."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if tuple(data.classes) != self.model.classes:
            raise ValueError(f"classes of {data.name} are {data.classes}, of the model {self.model.classes}.")
        if stage == "fit" and not self.source:
            self.source, self.fingerprint = data.name, data.fingerprint
            self.channels, self.period_ns = tuple(data.channels), data.period_ns
            calibrate(self.model, data.paths["train"])
            tune(self.model, data.paths["train"], data.cells, self.tune, self.rate)

    def on_train_epoch_start(self) -> None:
        """Train all parts, whatever the last validation took of them."""
        self.model.trust.fill_(1.0)
        self.model.shift.zero_()

    def on_validation_epoch_start(self) -> None:
        """Validate all parts."""
        self.on_train_epoch_start()

    def on_validation_epoch_end(self) -> None:
        """Find what of the encoder is taken, before the epoch's checkpoint is written."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and self.model.encoder is not None and not self.trainer.sanity_checking:
            guard(self.model, list(Batches(data.paths["val"], data.cells)))
            level(self.model, list(Batches(data.paths["train"], data.cells))[::3], self._least)

    def shared_step(self, batch: Paths, stage: Stage) -> Tensor:
        """Return the loss of a batch; log it and its parts."""
        found = follow(self.model, batch)
        noise, sure = losses(found, batch, len(self.model.classes))
        loss = noise + self.existence * sure
        count = int(batch.seen.sum())
        self.log(f"{stage}_loss", loss.float(), prog_bar=True, batch_size=count)
        self.log_dict({f"{stage}_noise": noise.float(), f"{stage}_existence": sure.float()}, batch_size=count)
        return loss

    def test_step(self, batch: Paths, batch_idx: int) -> Followed:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return what the filter said, which the report scores beside the classical part."""
        return follow(self.model, batch)

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table of a test."""
        from mambats.track.learned.report import NoiseReport

        return NoiseReport(name, folder)


def losses(found: Followed, paths: Paths, kinds: int) -> tuple[Tensor, Tensor]:
    """Return minus the log likelihood of innovations, nats a number, and the logistic loss of existence, nats.

    Innovations weigh alike, but a class in all no less than a tenth of the commonest, which else would be all.

    Args:
        found: Of `follow`.
        paths: That were followed.
        kinds: Number of classes.
    """
    counts = torch.stack([(found.innovation & (paths.kind == k)[:, None]).sum() for k in range(kinds)]).double()
    weight = (counts.max() / counts.clamp_min(1)).clamp(1.0, 10.0).sqrt()[paths.kind][:, None]
    some = torch.where(found.innovation, weight, 0.0)
    # Where nothing was detected a likelihood stands for no innovation, and may be anything.
    noise = -(some * found.log_likelihood.where(found.innovation, 0.0)).sum() / (SIZE * some.sum().clamp_min(1.0))
    known = paths.seen & (paths.truth != UNKNOWN)
    true = (paths.truth == TRUE).to(found.logit)
    price = torch.nn.functional.binary_cross_entropy_with_logits(found.logit, true, reduction="none")
    return noise, torch.where(known, price, 0.0).sum() / known.sum().clamp_min(1)


@torch.no_grad()
def calibrate(model: InnovationNoise, paths: Paths) -> None:
    """Set the log odds of scores by logistic regression, class by class; one without two kinds of detections stays."""
    for kind, name in enumerate(model.classes):
        known = paths.seen & (paths.kind == kind)[:, None] & (paths.truth != UNKNOWN)
        true = paths.truth[known] == TRUE
        if bool(true.any()) and not bool(true.all()):
            boxes = paths.boxes[known] if name in model.ranged else None
            made = ScoreCalibration.fitted(paths.score[known], true, boxes=boxes)
            model.score[kind] = model.score.new_tensor([made.slope, made.offset, made.range])


def tune(model: InnovationNoise, paths: Paths, cells: int, epochs: int, rate: float) -> None:
    """Set the classical part of a model to where innovations are likeliest; the encoder's part is left out.

    Args:
        model: Changed in place.
        paths: Of training.
        cells: Of a batch, see `Batches`.
        epochs: Of Adam.
        rate: Of learning, falling to 0.
    """
    encoder, model.encoder = model.encoder, None
    model.base.requires_grad_(True)
    several = paths.take(torch.nonzero(paths.lengths() > 1)[:, 0])
    batches = Batches(several, cells, seed=0)
    solver, steps, step = torch.optim.Adam(model.base.parameters(), lr=rate), max(1, epochs * len(batches)), 0
    for _ in range(epochs):
        for batch in batches:
            solver.param_groups[0]["lr"] = rate * min(1.0, 1.5 * max(0.0, 1 - step / steps))
            loss, _ = losses(follow(model, batch), batch, len(model.classes))
            solver.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            solver.step()  # pyright: ignore[reportUnknownMemberType]
            step += 1
    model.base.requires_grad_(False)
    model.encoder = encoder
