"""The task trains, scores entry by entry, runs online, and comes back from its checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch

from mambats.checkpoint import CheckpointMismatchError, load_task
from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.data import WindowDataModule
from mambats.encoders import CausalEncoder
from mambats.forecast import (
    Cycle,
    Dense,
    DirectHead,
    Forecaster,
    ForecastTask,
    LinearSkip,
    OnlineRun,
    Pinball,
    rows_of,
)
from mambats.scale import InstanceNorm, RunningNorm
from mambats.series import Window
from mambats.task import AveragedWeights, Optimiser, parameter_groups
from mambats_datasets import Oscillators

LOOKBACK, HORIZON = 24, 4


def data(**settings: object) -> WindowDataModule:
    return WindowDataModule(Oscillators(rows=300, **settings), LOOKBACK, HORIZON, batch_size=32)  # type: ignore[arg-type]


def model(streams: bool = False, quantiles: tuple[float, ...] | None = None, **rest: object) -> Forecaster:
    norm = RunningNorm() if streams else InstanceNorm()
    head = DirectHead(8, HORIZON, quantiles=quantiles)
    return Forecaster(CausalEncoder(1, 8, 1), head, norm, **rest)  # type: ignore[arg-type]


def trainer(folder: Path, epochs: int = 1, **rest: object) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        plugins=[SafeCheckpointIO()],
        **rest,  # type: ignore[arg-type]
    )


def test_decay_spares_vectors_and_marked_parameters() -> None:
    task = ForecastTask(model(cycle=Cycle(24, 2)))
    decayed, free = (group["params"] for group in parameter_groups(task, 0.1))
    names = {id(p): name for name, p in task.named_parameters()}
    assert all(p.ndim >= 2 for p in decayed)
    assert any("A_log" in names[id(p)] for p in free)
    assert len(decayed) + len(free) == len(list(task.parameters()))


def test_schedule_warms_up_and_ends_at_zero() -> None:
    settings = Optimiser(warmup=0.1)
    assert settings.factor(0, 100) == pytest.approx(0.1)
    assert settings.factor(9, 100) == pytest.approx(1.0)
    assert settings.factor(100, 100) == pytest.approx(0.0)
    assert Optimiser(schedule="constant").factor(99, 100) == 1.0


@pytest.mark.parametrize("streams", [False, True])
def test_training_lowers_the_validation_error(tmp_path: Path, streams: bool) -> None:
    task = ForecastTask(model(streams), optimiser=Optimiser(lr=1e-2), dense=Dense(8, 4) if streams else None)
    module = data()
    first = trainer(tmp_path).validate(task.train() and _fitted(task, module, tmp_path, 0), module, verbose=False)
    fit = trainer(tmp_path, 3)
    fit.fit(task, module)
    assert float(fit.callback_metrics["val_mse"]) < 0.7 * first[0]["val_mse"]


def _fitted(task: ForecastTask, module: WindowDataModule, folder: Path, epochs: int) -> ForecastTask:
    trainer(folder, epochs).fit(task, module)
    return task


def test_validation_score_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    task, scores = _fitted(ForecastTask(model()), data(), tmp_path, 0), []
    for size in (1, 7, 64):
        module = WindowDataModule(Oscillators(rows=300), LOOKBACK, HORIZON, batch_size=size)
        scores.append(trainer(tmp_path).validate(task, module, verbose=False)[0]["val_mse"])
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-6)


def test_online_run_equals_one_parallel_pass() -> None:
    streaming, module = model(streams=True, skip=LinearSkip(7, HORIZON)).eval(), data(absent=0.2)
    torch.nn.init.normal_(streaming.skip.weight, std=0.2)
    module.setup()
    windows = module.windows("test")
    run, parts = OnlineRun(streaming), []
    for begin, end in ((0, 1), (1, 20), (20, len(windows))):
        parts.append(run.forecast(windows[torch.arange(begin, end).numpy()]))
    whole = module.run("test", LOOKBACK)
    first = windows[torch.tensor([0]).numpy()]
    rows = rows_of(first)._replace(values=whole.values, observed=whole.observed, gaps=whole.gaps, mask=None, clock=None)
    with torch.no_grad():
        want, _ = streaming.roll(rows, streaming.init_state(1, 2))
    got = torch.cat(parts)
    torch.testing.assert_close(got, want[0, LOOKBACK - 1 : LOOKBACK - 1 + len(got)], rtol=1e-5, atol=1e-5)


def test_online_run_refuses_shuffled_windows() -> None:
    module = data()
    module.setup()
    with pytest.raises(ValueError, match="not in order"):
        OnlineRun(model(streams=True)).forecast(module.windows("test")[torch.tensor([5, 3]).numpy()])


def test_dense_training_asks_each_row_for_its_own_future() -> None:
    task = ForecastTask(model(streams=True), dense=Dense(rows=6, warm=3))
    module = data(absent=0.2)
    module.setup()
    batch = module.windows("train")[torch.arange(5).numpy()]
    torch.manual_seed(3)
    forecast, target, observed = task._sampled(batch)
    assert forecast.shape == target.shape == (30, HORIZON, 2)
    assert observed is not None
    # The last row is always asked, so the last target of each window is among them.
    assert (target.unflatten(0, (5, 6))[:, -1] == batch.target).all()
    assert (observed.unflatten(0, (5, 6))[:, -1] == batch.target_observed).all()


@pytest.mark.parametrize("average", [False, True])
def test_a_checkpoint_alone_rebuilds_the_fitted_task(tmp_path: Path, average: bool) -> None:
    levels = (0.1, 0.5, 0.9)
    task = ForecastTask(
        model(True, levels, cycle=Cycle(24, 2), mirror=0.5), Pinball(levels), Optimiser(1e-2), Dense(8, 4)
    )
    module = data()
    fit = trainer(tmp_path, 1, callbacks=[AveragedWeights()] if average else [])
    fit.fit(task, module)
    fit.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_task(tmp_path / "a.ckpt")
    assert loaded.scaler.channels == module.channels
    assert loaded.model.cycle.profile.abs().sum() > 0
    batch = module.windows("test")[torch.arange(9).numpy()]
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(batch), task.eval().model(batch))
    other = ForecastTask(model(False), Pinball(levels))
    with pytest.raises(CheckpointMismatchError):
        trainer(tmp_path).validate(other, module, ckpt_path=str(tmp_path / "a.ckpt"), verbose=False)


def test_no_mixer_keeps_everything_but_the_blocks() -> None:
    whole, bare = ForecastTask(model()), ForecastTask(model(), no_mixer=True)
    gone = {n for n, _ in whole.named_parameters()} - {n for n, _ in bare.named_parameters()}
    assert gone
    assert all(".blocks." in name for name in gone)


def test_other_channels_are_refused(tmp_path: Path) -> None:
    task = _fitted(ForecastTask(model()), data(), tmp_path, 1)
    with pytest.raises(ValueError, match="was trained on channels"):
        trainer(tmp_path).test(task, data(channels=3), verbose=False)


def test_dense_training_needs_a_model_that_streams() -> None:
    with pytest.raises(ValueError, match="RunningNorm"):
        ForecastTask(model(), dense=Dense())


@pytest.mark.parametrize("mixing", [False, True])
def test_covariates_calendar_and_facts_reach_the_model(tmp_path: Path, mixing: bool) -> None:
    """Past covariates, known-future ones with the calendar, and many series of unequal length, end to end."""
    source = Oscillators(rows=300, series=2, covariates=True)
    module = WindowDataModule(source, LOOKBACK, HORIZON, batch_size=32, calendar=("hour_of_day",))
    module.setup()
    batch = module.windows("train")[torch.arange(4).numpy()]
    assert batch.past is not None and batch.future is not None
    known = batch.future.shape[-1]
    channels = (2 if mixing else 1) + batch.past.shape[-1] + known
    head = DirectHead(8, HORIZON, outputs=2 if mixing else 1, future=known)
    task = ForecastTask(
        Forecaster(CausalEncoder(channels, 8, 1), head, RunningNorm(), mixing=mixing), dense=Dense(8, 4)
    )
    fit = trainer(tmp_path)
    fit.fit(task, module)
    assert torch.isfinite(fit.callback_metrics["val_mse"])
    task.eval()
    later = batch.future.clone()
    later[:, LOOKBACK:] += 1
    changed = batch.past.clone()
    changed[:, LOOKBACK:] += 1
    with torch.no_grad():
        plain = task.model(batch)
        assert not torch.allclose(plain, task.model(replace(batch, future=later)))
        torch.testing.assert_close(plain, task.model(replace(batch, past=changed)), rtol=0, atol=0)
    # The online run over both series equals fresh parallel starts where a series begins.
    windows = module.windows("test")
    everything = windows[torch.arange(len(windows)).numpy()]
    forecast = OnlineRun(task.model).forecast(everything)
    assert forecast.shape[0] == len(windows) and forecast.isfinite().all()
    begin = int((everything.series == 1).nonzero()[0])
    with torch.no_grad():
        torch.testing.assert_close(forecast[begin], task.model(everything.take([begin]))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cycle", [False, True])
def test_windows_carry_the_clock_where_the_model_reads_it(tmp_path: Path, cycle: bool) -> None:
    module, seen = data(), []

    class Look(lightning.Callback):
        def on_train_batch_start(self, trainer: object, pl_module: object, batch: Window, batch_idx: int) -> None:
            seen.append(batch.clock is not None)

    task = ForecastTask(model(cycle=Cycle(24, 2) if cycle else None))
    trainer(tmp_path, 1, callbacks=[Look()]).fit(task, module)
    assert set(seen) == {cycle}
