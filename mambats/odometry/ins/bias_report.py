"""What a test of biases leaves behind: drift without a bias, with known ones and with the encoder's, in one table."""

from __future__ import annotations

from typing import Any, get_args

import torch

from mambats.odometry.ins.bias_task import Base
from mambats.odometry.ins.flight import drift
from mambats.odometry.ins.report import Growth, GrowthReport


class BiasReport(GrowthReport):
    """Let an inertial unit dead-reckon from the same true states with each bias."""

    title = "Inertial unit alone: median error and middle half of all windows"

    def contest(self, task: Any, data: Any, number: int) -> list[Growth]:
        """Return what came of each bias and length on one flight."""
        flight, longest = data.parts[number].to(task.device), max(task.lengths)
        starts = data.starts("test", number, longest).to(task.device)
        truth = flight.truth(starts, longest)
        named = {"strapdown, no bias": torch.zeros(1, 1, 6).to(flight.readings)}
        for base in get_args(Base):
            named[f"{base} bias"] = task.known(flight, data, number, base)(starts)[:, None]
        named[self.name] = task.biases(flight, starts, named[f"{task.base} bias"][:, 0], longest)
        made = list[Growth]()
        for name, bias in named.items():
            angle, _, way = drift(flight.reckon(starts, longest, bias, task.gravity), truth)
            for seconds in task.lengths:
                errors = way[:, seconds - 1]
                scores = {
                    "position_mean_m": float(errors.mean()),
                    "position_rmse_m": float(errors.square().mean().sqrt()),
                    "rotation_mean_deg": float(angle[:, seconds - 1].mean().rad2deg()),
                }
                made.append(Growth(name, seconds, len(starts), scores, way[:, :seconds]))
        return made
