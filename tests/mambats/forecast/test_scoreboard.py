"""The curve of the picture and the number of the table are the same errors, whatever the batches."""

from __future__ import annotations

import pytest
import torch

from mambats.forecast.baselines import LastValue
from mambats.forecast.scoreboard import Scoreboard
from mambats.series import Window

LOOKBACK, HORIZON = 8, 5


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1, 4, 4, 3)])
def test_curve_and_table_agree_for_any_batches(sizes: tuple[int, ...], missing: bool) -> None:
    values = torch.randn(12, LOOKBACK + HORIZON, 2).cumsum(1)
    observed = torch.rand_like(values) > 0.2 if missing else None
    windows = Window(values, LOOKBACK, observed)
    board, begin = Scoreboard({"last_value": None}, torch.ones(2), HORIZON), 0
    for size in sizes:
        batch = windows.take(list(range(begin, begin + size)))
        board.add({"last_value": LastValue().forecast(batch)}, batch)
        begin += size
    present = torch.ones_like(windows.target, dtype=torch.bool) if observed is None else windows.target_observed
    error = torch.where(present, (LastValue().forecast(windows) - windows.target).double() ** 2, 0)
    assert board.total() == 12
    assert board.values()["last_value"]["mse"] == pytest.approx(float(error.sum() / present.sum()), rel=1e-5)
    assert board.by_step()["last_value"] == pytest.approx((error.sum((0, 2)) / present.sum((0, 2))).tolist(), rel=1e-5)
