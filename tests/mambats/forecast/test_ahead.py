"""What comes next, as a table: the same numbers as Lightning's predict, at the right times, for newer rows too."""

import lightning
import numpy as np
import polars as pl
import pytest
import torch

from mambats.checkpoint import load_task
from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.data import DataError, Frame, WindowDataModule
from mambats.encoders import CausalEncoder
from mambats.forecast import Cycle, DirectHead, Forecaster, ForecastTask, Pinball, forecast_ahead
from mambats.scale import RunningNorm

HOUR = 3600 * 10**9
LEVELS = (0.1, 0.5, 0.9)


def waves(rows, begin=0, names=("a", "b"), shift=0.0):
    clock = np.arange(begin, begin + rows)
    stamps = pl.Series(clock * HOUR).cast(pl.Datetime("ns"))
    return pl.DataFrame({"ds": stamps} | {name: 50 + shift + 9 * np.sin(clock / 4 + i) for i, name in enumerate(names)})


def module(frame):
    return WindowDataModule(Frame(frame, "waves"), lookback=24, horizon=4, batch_size=16)


def new_task():
    torch.manual_seed(0)
    model = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, 4, quantiles=LEVELS), RunningNorm(), cycle=Cycle())
    return ForecastTask(model, loss=Pinball(LEVELS))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    task, data = new_task(), module(waves(200))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=3, enable_checkpointing=False, plugins=[SafeCheckpointIO()], **quiet
    )
    trainer.fit(task, data)
    path = tmp_path_factory.mktemp("fit") / "a.ckpt"
    trainer.save_checkpoint(path)
    return task, data, trainer, path


def test_columns_are_the_forecast_of_the_rows_after_the_last(fitted):
    task, data, trainer, _ = fitted
    frame = pl.DataFrame(forecast_ahead(task, data))
    assert frame.columns == ["unique_id", "ds", "channel", "step", "forecast", "q0.1", "q0.5", "q0.9"]
    assert frame.height == 2 * 4
    assert frame["ds"].to_physical().to_list() == 2 * [HOUR * hour for hour in range(200, 204)]
    [predicted] = trainer.predict(task, data)
    for index, channel in enumerate(("a", "b")):
        rows = frame.filter(pl.col("channel") == channel)
        assert np.allclose(rows.select("q0.1", "q0.5", "q0.9").to_numpy(), predicted[0, :, index].numpy())
    assert abs(frame["forecast"].mean() - 50) < 15  # the data's units, not scaled ones


def test_newer_rows_are_scaled_as_the_task_was_trained(fitted):
    task, _, _, path = fitted
    newer = waves(40, begin=500, shift=3.0)
    ahead = forecast_ahead(load_task(path), module(newer))
    assert ahead["ds"][0] == np.datetime64(540 * HOUR, "ns")
    again = module(newer)
    again.setup("predict")
    again.adopt(task.scaler, task.period_ns)
    with torch.no_grad():
        want = task.predict_step(next(iter(again.predict_dataloader())), 0)
    assert np.allclose(ahead["q0.5"], want[0, :, :, 1].T.flatten().numpy(), rtol=1e-5)


def test_a_task_stays_in_its_mode(fitted):
    task, data, _, _ = fitted
    forecast_ahead(task.train(), data)
    assert task.training and task.model.training
    forecast_ahead(task.eval(), data)
    assert not task.training


def test_what_cannot_be_forecast_is_refused(fitted):
    task, data, _, _ = fitted
    with pytest.raises(ValueError, match="fit it, or load a checkpoint"):
        forecast_ahead(new_task(), data)
    with pytest.raises(DataError, match="trained on channels a, b"):
        forecast_ahead(task, module(waves(200, names=("a", "c"))))
    with pytest.raises(DataError, match="has 10 rows to read, lookback is 24"):
        forecast_ahead(task, module(waves(10)))
