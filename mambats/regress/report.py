"""What a test of a regressor leaves behind: one table, results.json, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.data.cases import CaseBatch
from mambats.regress.baselines import estimate_with, feature_tables, fit_baselines
from mambats.regress.head import Estimate
from mambats.regress.metrics import regression_scores
from mambats.results import Row, rows_of, seed_of_run, show_results

#: Estimates of one case at every row, each (T,).
Lives = dict[int, Estimate]


class RegressReport(Callback):
    """Score the model and the simple baselines on the same rows of the same cases; write and show the result.

    Two tables: at the rows where the test asks (the last row where the test cases are cut off already, else
    `RegressTask.cuts`), and over every row.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
        drawn: Cases to draw.
    """

    def __init__(self, name: str, folder: str | Path, drawn: int = 4) -> None:
        super().__init__()
        self.name, self.folder, self.drawn = name, Path(folder), drawn
        self.rows: list[Row] = []
        self._lives: Lives = {}

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget an earlier test, and refuse one without truth."""
        self._lives = {}
        cases = trainer.datamodule.cases["test"]
        if not all(bool(torch.from_numpy(case.target).isfinite().any()) for case in cases):
            raise ValueError(
                f"{trainer.datamodule.name}: test cases have no truth {trainer.datamodule.truth!r}. Put the file that "
                "holds it beside them, hold cases of the source out instead (data.init_args.test null), or use predict."
            )

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: CaseBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the estimates of a batch."""
        if batch.case is None:
            return
        for index, case in enumerate(batch.case.tolist()):
            length = len(trainer.datamodule.cases["test"][case])
            self._lives[case] = Estimate(*outputs[index, :length].double().cpu().unbind(-1))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json, draw the pictures, print the tables."""
        lives = gathered(self._lives, trainer.world_size)
        if not trainer.is_global_zero or not lives:
            return
        data, model = trainer.datamodule, pl_module.model
        contestants = {self.name: lives} | self._baselines(data, model.cap, model.level, sorted(lives))
        truth = {case: torch.from_numpy(data.cases["test"][case].target).double() for case in lives}
        asked = {case: rows_asked(pl_module, data, truth[case], case) for case in lives}
        every = {case: target.isfinite().nonzero()[:, 0] for case, target in truth.items()}
        self.rows = []
        for split, rows in (("test", asked), ("test, every row", every)):
            self.rows += self._score(contestants, truth, rows, split, pl_module, data)
        show_results(self.folder, self.rows)
        self._draw(contestants, truth, asked, model.cap, data)

    def _baselines(self, data: Any, cap: float | None, level: float, cases: list[int]) -> dict[str, Lives]:
        """Fit the baselines on all that is not tested: they need no validation."""
        fitted = fit_baselines([data.split("train"), data.split("val")], cap, level)
        tables = feature_tables(data.split("test"))
        return {
            name: {case: estimate_with(models, tables[case], cap) for case in cases} for name, models in fitted.items()
        }

    def _score(
        self,
        contestants: Mapping[str, Lives],
        truth: Mapping[int, Tensor],
        rows: Mapping[int, Tensor],
        split: str,
        task: Any,
        data: Any,
    ) -> list[Row]:
        target = torch.cat([truth[case][rows[case]] for case in truth])
        found: list[Row] = []
        for name, lives in contestants.items() if len(target) else ():
            estimate = at_rows(lives, rows)
            found += rows_of(
                regression_scores(estimate, target, task.model.cap, task.model.level),
                model=name,
                source=data.name,
                split=split,
                lookback=max(len(each) for each in truth.values()),
                horizon=1,
                windows=len(target),
                seed=seed_of_run() if name == self.name else None,
                mode="online",
            )
        return found

    def _draw(
        self,
        contestants: Mapping[str, Lives],
        truth: Mapping[int, Tensor],
        asked: Mapping[int, Tensor],
        cap: float | None,
        data: Any,
    ) -> None:
        if find_spec("matplotlib") is None:
            print("matplotlib is not installed: no pictures.")
            return
        from mambats.regress.picture import draw_asked, draw_lives

        folder, title = self.folder / "pictures", f"{self.name}, {data.name}"
        by_length = sorted(truth, key=lambda case: len(truth[case]))
        places = torch.linspace(0, len(by_length) - 1, min(self.drawn, len(by_length))).round().long().tolist()
        chosen = [by_length[place] for place in places]
        views = {
            data.cases["test"][case].name: (truth[case], {name: lives[case] for name, lives in contestants.items()})
            for case in chosen
        }
        paths = [draw_lives(views, folder / "lives.png", cap=cap, title=title, label=data.truth)]
        if any(len(rows) for rows in asked.values()):
            target = torch.cat([truth[case][asked[case]] for case in truth])
            estimates = {name: at_rows(lives, asked) for name, lives in list(contestants.items())[:2]}
            paths.append(draw_asked(estimates, target, folder / "asked.png", cap=cap, title=title))
        print("pictures: " + ", ".join(str(path) for path in paths))


def rows_asked(task: Any, data: Any, target: Tensor, case: int) -> Tensor:
    """Return the rows of a test case that are asked: the last known one where test cases came from a test source."""
    if data.test is None:
        return task.asked_rows(target, case)
    return target.isfinite().nonzero()[-1:, 0]


def at_rows(lives: Lives, rows: Mapping[int, Tensor]) -> Estimate:
    """Return the estimates at the given rows of each case, behind one another."""
    return Estimate(*(torch.cat([lives[case][part][rows[case]] for case in rows]) for part in range(3)))


def gathered(lives: Lives, processes: int) -> Lives:
    """Return the estimates of all processes."""
    if processes == 1:
        return lives
    shares: list[Lives] = [{} for _ in range(processes)]
    torch.distributed.all_gather_object(shares, lives)
    return {case: estimate for share in shares for case, estimate in sorted(share.items())}
