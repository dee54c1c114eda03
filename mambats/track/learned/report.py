"""What a test of a noise model leaves behind: the classical part and the encoder in one table, class by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from mambats.calibration import chi_square_quantile
from mambats.results import Row, rows_of, seed_of_run, show_results
from mambats.track.behind import TRUE, UNKNOWN
from mambats.track.learned.box import SIZE
from mambats.track.learned.paths import Paths
from mambats.track.learned.scan import Followed, follow
from mambats.track.learned.student import gaussian_nis

CLASSICAL = "classical"


class NoiseReport(Callback):
    """Score innovations and existence along labelled paths, with the encoder and without.

    Args:
        name: Name of the model in the table: the recipe's.
        folder: Folder of the run.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        super().__init__()
        self.name, self.folder = name, Path(folder)
        self.rows: list[Row] = []
        self._found: list[tuple[Paths, dict[str, Followed]]] = []

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        self._found, self.rows = [], []
        self._classical = pl_module.model.classical()

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Paths, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep what both said of a batch."""
        self._found.append((batch, {self.name: outputs, CLASSICAL: follow(self._classical, batch)}))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write results.json and print the table."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule
        for k, kind in enumerate(pl_module.model.classes):
            for name in (self.name, CLASSICAL):
                some = [(paths, said[name]) for paths, said in self._found]
                values, count = noise_scores(some, k)
                self.rows += rows_of(
                    values, model=name, source=f"{data.name}, {kind}", split="test", lookback=0, horizon=1,
                    windows=count, seed=seed_of_run() if name == self.name else None, mode="online",
                )  # fmt: skip
        show_results(self.folder, self.rows)


def noise_scores(found: list[tuple[Paths, Followed]], kind: int) -> tuple[dict[str, float], int]:
    """Return scores of a class, and how many innovations they are of.

    Args:
        found: Paths and what was said of them.
        kind: Number of the class.

    Returns:
        `nll`, nats an innovation (seven numbers); `nis_7`, the mean of NIS over 7; `inside_gauss`, the share inside the
        95 % band of chi-square; `inside`, that inside the band of the Student's t said; `existence_nll`, nats a
        detection, and `existence_brier`.
    """
    parts = {"nll": list[torch.Tensor](), "nis": [], "equal": [], "logit": [], "true": []}
    for paths, said in found:
        here = said.innovation & (paths.kind == kind)[:, None]
        known = paths.seen & (paths.truth != UNKNOWN) & (paths.kind == kind)[:, None]
        parts["nll"].append(-said.log_likelihood[here])
        parts["nis"].append(said.nis[here])
        parts["equal"].append(gaussian_nis(said.nis[here], said.freedom[here], SIZE))
        parts["logit"].append(said.logit[known])
        parts["true"].append((paths.truth[known] == TRUE).double())
    nll, nis, equal, logit, true = (torch.cat(part) for part in parts.values())
    low, high = (chi_square_quantile(p, SIZE) for p in (0.025, 0.975))
    scores = {
        "nll": nll.mean(), "nis_7": nis.mean() / SIZE,
        "inside_gauss": ((nis >= low) & (nis <= high)).double().mean(),
        "inside": ((equal >= low) & (equal <= high)).double().mean(),
        "existence_nll": torch.nn.functional.binary_cross_entropy_with_logits(logit, true),
        "existence_brier": (logit.sigmoid() - true).square().mean(),
    }  # fmt: skip
    return {name: float(one) for name, one in scores.items()}, len(nis)
