"""What `mambats predict` writes of a detector: score and alarm of every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback

from mambats.anomaly.data import LabelledSeries
from mambats.anomaly.detector import Detected


class ScoreFile(Callback):
    """Collect scores and write them when the last series is done.

    Columns: unique_id, ds, score (of the row, deviations above its own past), lasting (of the stretch up to it), alarm,
    scored (False in the probation).

    Args:
        path: `.parquet` or `.csv`.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.parts: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Detected,
        batch: LabelledSeries,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the scores of one series."""
        rows = len(batch.stamps)
        self.parts.append(
            {
                "unique_id": np.repeat(batch.name, rows),
                "ds": batch.stamps,
                "score": outputs.score[0].cpu().numpy(),
                "lasting": outputs.lasting[0].cpu().numpy(),
                "alarm": outputs.alarm[0].cpu().numpy(),
                "scored": np.arange(rows) >= batch.begin,
            }
        )

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the file."""
        if not trainer.is_global_zero or not self.parts:
            return
        from mambats.formats.long import write_long

        columns = {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}
        print(f"scores: {write_long(self.path, columns, columns.pop('ds'))} ({len(columns['score'])} rows)")
