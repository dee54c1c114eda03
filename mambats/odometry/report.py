"""What a test of a navigator leaves behind: one table, results.json, pictures."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from mambats.odometry.contest import FILTERS, Contest, hold_contest
from mambats.odometry.navigation import Navigation
from mambats.odometry.start import drawn_start
from mambats.results import Row, rows_of, seed_of_run, show_results
from mambats.series import SensorWindow

#: Drives that the filters run over at once: batches of training would have each run again, and more need GBs.
_AT_ONCE = 32


class OdometryReport(Callback):
    """Let the navigator, the filters and single sensors estimate the same test drives; write and show the result.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
        seed: Of the starts, which all share.
    """

    def __init__(self, name: str, folder: str | Path, seed: int = 0) -> None:
        super().__init__()
        self.name, self.folder, self.seed = name, Path(folder), seed
        self.rows: list[Row] = []
        self._seen = 0

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        self._seen = 0

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: SensorWindow, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the drives: filters run over many at once, whatever the batch is."""
        self._seen += len(batch) * trainer.world_size

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Hold the contest, write results.json, print the table, draw the pictures."""
        if not self._seen or not trainer.is_global_zero:
            return
        windows = trainer.datamodule.windows("test")
        windows = windows.take(range(min(self._seen, len(windows))))
        whole = self._hold(pl_module, windows)
        for name, values in whole.scores().items():
            self.rows += rows_of(
                values, model=name, source=trainer.datamodule.name, split="test", lookback=0, horizon=1,
                windows=len(whole.stamps), seed=seed_of_run() if name == self.name else None, mode="online",
            )  # fmt: skip
        show_results(self.folder, self.rows)
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        paths = draw_drive(whole, windows, self.name, self.folder / "pictures")
        print("pictures: " + ", ".join(str(path) for path in paths))

    def _hold(self, task: Any, windows: SensorWindow) -> Contest:
        """Let everyone estimate all drives."""
        generator, contests = torch.Generator().manual_seed(self.seed), list[Contest]()
        for begin in range(0, len(windows), _AT_ONCE):
            part = windows.take(range(begin, min(begin + _AT_ONCE, len(windows)))).to(task.device)
            start = drawn_start(part, task.model.deviations, generator)
            contests.append(hold_contest(task.model, part, start, self.name, alone=True))
        return joined(contests)


def joined(contests: list[Contest]) -> Contest:
    """Put batches one behind the other."""
    first = contests[0]

    def stacked(parts: list[Navigation]) -> Navigation:
        return Navigation(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    return Contest(
        torch.cat([each.stamps for each in contests]),
        stacked([each.truth for each in contests]),
        {name: stacked([each.estimates[name] for each in contests]) for name in first.estimates},
        torch.cat([each.fixes for each in contests]),
    )


def draw_drive(contest: Contest, window: SensorWindow, name: str, folder: Path, which: int = 0) -> list[Path]:
    """Draw one drive of a contest: from above, and its errors over time.

    Args:
        contest: Of the window.
        window: Of which the fixes are drawn.
        name: Of the model.
        folder: Where the pictures go.
        which: Number of the drive.
    """
    pictures = import_module("mambats.pictures.trajectory")
    names = (name, FILTERS["all"])
    chosen = {label: Navigation(*(part[which].cpu() for part in contest.estimates[label])) for label in names}
    truth = contest.truth.position[which].cpu()
    tracks = {
        label: pictures.Track(one.position.numpy(), one.covariance[..., 6:, 6:].double().numpy())
        for label, one in chosen.items()
    }
    fixes = window.streams.get("gnss")
    seen = fixes.values[which][fixes.mask[which]].double().cpu().numpy() if fixes is not None else truth[:0].numpy()
    error = {label: (one.position - truth)[:, :2].norm(dim=-1).numpy() for label, one in chosen.items()}
    # The circle of 95 %: 2.45 deviations of the mean variance along both axes.
    radius = {
        label: (5.991 * one.covariance[:, (6, 7), (6, 7)].double().mean(-1)).sqrt().numpy()
        for label, one in chosen.items()
    }
    time = contest.stamps[which].cpu().double().numpy() * 1e-9
    return [
        pictures.draw_trajectory(truth.numpy(), tracks, seen, folder / "trajectory.png"),
        pictures.draw_errors(time, error, radius, folder / "errors.png"),
    ]
