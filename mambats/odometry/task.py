"""The Lightning skin of a navigator: filters run once before training, then only the network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.odometry.degrade import side_by_side
from mambats.odometry.drives import Drives
from mambats.odometry.faults import RandomFaults
from mambats.odometry.losses import GaussianLoss
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.navigator import Navigator
from mambats.odometry.report import OdometryReport
from mambats.odometry.start import drawn_start
from mambats.series import SensorWindow
from mambats.task import Optimiser, Stage, StreamsTask

#: Drives whose filters run side by side: what they say of each is kept until all are done.
_CHUNK = 64


class OdometryTask(StreamsTask):
    """Train, validate and test a `Navigator` on windows with ground truth (`SensorDataModule`).

    Before the first step the filters run over every training and validation window, each `versions` times with faults
    and starts drawn anew; training then reads what they said. After each validation the covariance is scaled to what
    the validation errors were.

    Args:
        model: The navigator.
        loss: What is minimised; `GaussianLoss()` where None.
        optimiser: Optimiser settings.
        faults: What goes wrong in training and validation; `RandomFaults()` where None.
        versions: Of each training window.
        every: Of how many ticks one is trained on.
        seed: Key of faults and starts.
    """

    def __init__(
        self,
        model: Navigator,
        loss: GaussianLoss | None = None,
        optimiser: Optimiser | None = None,
        faults: RandomFaults | None = None,
        versions: int = 1,
        every: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(optimiser)
        if min(versions, every) < 1:
            raise ValueError(f"versions is {versions}, every {every}: need at least 1.")
        self.model, self.loss, self.faults = model, loss, faults
        self.versions, self.every, self.seed = versions, every, seed
        self._ready: dict[str, Drives] = {}
        self._place: dict[str, dict[tuple[int, int], int]] = {}
        self._judged: list[tuple[Tensor, Tensor]] = []

    @property
    def criterion(self) -> GaussianLoss:
        """What is minimised."""
        return self.loss or GaussianLoss()

    def setup(self, stage: str) -> None:
        """Note what the data is (Lightning calls this after the data's setup)."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and stage == "fit":
            self.source, self.fingerprint = data.name, data.fingerprint
            self.channels, self.period_ns = data.channels, data.period_ns

    def on_fit_start(self) -> None:
        """Run the filters over all windows."""
        data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        for number, (split, versions) in enumerate((("train", self.versions), ("val", 1))):
            windows = data.windows(split)
            keys = zip(windows.recording.tolist(), windows.starts.tolist(), strict=True)
            self._place[split] = {key: place for place, key in enumerate(keys)}
            self._ready[split] = self._drives(windows, [self.seed + 1000 * number + v for v in range(versions)])

    def on_fit_end(self) -> None:
        """Let go of them."""
        self._ready = {}

    def _drives(self, windows: SensorWindow, seeds: Sequence[int]) -> Drives:
        """Filter all windows once for each key, with the faults and starts that it draws; keys one behind the other."""
        broken, starts = list[SensorWindow](), list[Navigation]()
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            broken.append((self.faults or RandomFaults())(windows, generator))
            starts.append(drawn_start(broken[-1], self.model.deviations, generator))
        faulty = side_by_side(broken)
        start = Navigation(*(torch.cat(part) for part in zip(*starts, strict=True)))
        parts, places = list[Drives](), list[int]()
        for group in _by_clock(side_by_side([windows] * len(seeds)), faulty):
            for begin in range(0, len(group), _CHUNK):
                chosen = group[begin : begin + _CHUNK]
                parts.append(self._filtered(faulty.take(chosen), Navigation(*(part[chosen] for part in start))))
                places += chosen
        return Drives.joined(parts).take(torch.tensor(places, device=self.device).argsort())

    def _filtered(self, windows: SensorWindow, start: Navigation) -> Drives:
        """Run the filters over windows, from where each body is thought to start."""
        windows = windows.to(self.device)
        state = self.model.init_state(Navigation(*(part.to(self.device) for part in start)))
        prepared, _, _ = self.model.prepare(windows, state)
        return Drives.of(prepared, truth_at(windows.truth, prepared.stamps), self.every)

    def shared_step(self, batch: SensorWindow, stage: Stage) -> Tensor:
        """Return the loss of a batch, on what the filters said of its windows before."""
        drives = self._drawn(batch, stage)
        token, _ = self.model.believe(drives.rows, drives.length_ns)
        mean, root = self.model.answer(token[:, drives.at], drives.found)
        loss = self.criterion(mean, root, drives.target)
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=len(batch))
        if stage == "val":
            error = drives.target - mean
            miss = error[..., 6:].square().sum(-1).mean().sqrt()
            self.log("val_position", miss, prog_bar=True, batch_size=len(batch))
            self._judged.append((error, root))
        return loss

    def _drawn(self, batch: SensorWindow, stage: Stage) -> Drives:
        """Find the windows of a batch among the drives made ready; in training, one of their versions each."""
        if stage not in self._ready:
            return self._drives(batch, [self.seed + 1000])
        places = self._place[stage]
        found = [places[key] for key in zip(batch.recording.tolist(), batch.starts.tolist(), strict=True)]
        which = torch.tensor(found)
        if stage == "train":
            which = which + len(places) * torch.randint(self.versions, which.shape)
        drives = self._ready[stage].take(which.to(self.device))
        return drives.mirrored(torch.rand(len(drives), device=self.device) < 0.5) if stage == "train" else drives

    def on_validation_epoch_start(self) -> None:
        """Validate the covariance as the network shapes it."""
        self.model.log_scale.zero_()
        self._judged = []

    def on_validation_epoch_end(self) -> None:
        """Scale the covariance to the validation errors."""
        error, root = (torch.cat(part) for part in zip(*self._judged, strict=True))
        self.model.calibrate(error, root)
        self._judged = []

    def test_step(self, batch: SensorWindow, batch_idx: int) -> Tensor:
        """Score nothing here: the report lets everyone estimate the batch."""
        return torch.zeros((), device=self.device)

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table and pictures of a test."""
        return OdometryReport(name, folder, self.seed)


def _by_clock(before: SensorWindow, after: SensorWindow) -> list[list[int]]:
    """Numbers of the windows whose stamps a fault left as they were, and of those it delayed.

    A filter stops wherever any drive of its batch measured, so delays, which differ, make every drive dear: 64 drives
    of 20 s took 21 s of a core with late ones among them, and 192 that shared their clocks 28 s.
    """
    late = torch.zeros(len(before), dtype=torch.bool)
    for name, rows in after.streams.items():
        late |= ((rows.stamps != before.streams[name].stamps) & rows.mask).any(1).cpu()
    return [group for group in ((~late).nonzero()[:, 0].tolist(), late.nonzero()[:, 0].tolist()) if group]
