"""What `mambats predict` writes of cases: one line a case, or one a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from lightning.pytorch.callbacks import Callback

from mambats.data.cases import CaseBatch


class CasesFile(Callback):
    """Collect answers and write them when the last batch is done, each case once, whatever the number of ranks.

    Answers (B, K) are one line a case, at its last row; answers (B, T, K) one line a row.
    Columns: unique_id, ds, and the K named ones.

    Args:
        path: `.parquet` or `.csv`.
        names: Of the K columns.
    """

    def __init__(self, path: str | Path, names: Sequence[str]) -> None:
        self.path, self.names = Path(path), tuple(names)
        self.parts: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget earlier answers."""
        self.parts = []

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: CaseBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the answers of a batch."""
        cases = trainer.datamodule.cases["predict"]
        for index, number in enumerate([] if batch.case is None else batch.case.tolist()):
            case, answer = cases[number], outputs[index].cpu().numpy()
            rows = slice(len(case)) if answer.ndim == 2 else slice(-1, None)
            lines = np.atleast_2d(answer)[: len(case)]
            self.parts.append(
                {"unique_id": [case.name] * len(lines), "ds": case.stamps[rows]}
                | {name: lines[:, column] for column, name in enumerate(self.names)}
            )

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Gather what the ranks answered and write the file."""
        parts = self.parts
        if trainer.world_size > 1:
            shares: list[list[dict[str, Any]]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(shares, parts)
            parts = [part for share in shares for part in share]
        if trainer.is_global_zero and parts:
            # Only here: a machine without polars can still fit and test.
            from mambats.formats.long import write_long

            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            lines = len(columns["ds"])
            print(f"predictions: {write_long(self.path, columns, columns.pop('ds'))} ({lines} rows)")
