from itertools import chain

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn

from mambats.data import Borders, DataError, Dates, Loading, Reading, Table, WindowDataModule
from mambats.data.sampler import Share, WindowSampler
from mambats.scale import Scaler
from mambats.series import Recording, Stream, Window
from mambats_datasets import Oscillators

HOUR = 3600 * 10**9


def opened(source=None, lookback=24, horizon=8, **options):
    data = WindowDataModule(source or Oscillators(rows=400), lookback, horizon, **options)
    data.setup()
    return data


class Given:
    name = "given"

    def __init__(self, *recordings):
        self.given = list(recordings)

    def recordings(self):
        return self.given


def series(name, rows, channels=("a",), start=0):
    stamps = (start + np.arange(rows)) * HOUR
    return Recording(
        name, {"target": Stream(stamps, np.arange(rows * len(channels), dtype=float).reshape(rows, -1), channels)}
    )


class Echo(LightningModule):
    """Notes every window it is shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = {"train": [], "val": [], "test": []}

    def note(self, split, batch: Window):
        self.seen[split].append(batch.start.tolist())
        return (self.weight * batch.target).square().mean()

    def training_step(self, batch, index):
        return self.note("train", batch)

    def validation_step(self, batch, index):
        self.note("val", batch)

    def test_step(self, batch, index):
        self.note("test", batch)

    def predict_step(self, batch, index):
        return batch.start

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def trainer(tmp_path):
    return Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )


def test_lightning_trains_every_window_in_a_new_order_each_epoch_and_scores_each_once(trainer):
    data, echo = opened(batch_size=20), Echo()
    trainer.fit(echo, datamodule=data)
    trainer.test(echo, datamodule=data, verbose=False)
    [first] = trainer.predict(echo, datamodule=data)
    steps = len(data.train_dataloader())
    epochs = [list(chain(*echo.seen["train"][i : i + steps])) for i in (0, steps)]
    assert [len(set(epoch)) for epoch in epochs] == [len(data.windows("train"))] * 2
    assert epochs[0] != epochs[1]
    assert list(chain(*echo.seen["test"])) == list(range(320 - 24, 400 - 32 + 1))
    assert len(list(chain(*echo.seen["val"]))) == 2 * len(data.windows("val"))
    assert first.tolist() == [0]


def test_attributes_say_what_a_run_writes_down():
    data = opened(Oscillators(rows=400, series=2))
    assert data.name == "oscillators"
    assert data.channels == ("channel_0", "channel_1")
    assert data.scaler.channels == data.channels
    assert data.period_ns == HOUR
    assert len(data.fingerprint) == 64
    assert data.fingerprint == opened(Oscillators(rows=400, series=2)).fingerprint
    assert data.fingerprint != opened(Oscillators(rows=400, series=2, seed=1)).fingerprint
    assert data.panel.lengths.tolist() == [400, 360]


def test_published_borders_come_with_the_source_unless_a_split_is_given():
    source = Given(series("a", 300))
    source.borders = Borders(100, 150, 200)
    assert opened(source).borders.tolist() == [[100, 150, 200]]
    assert opened(source, split=Borders(90, 120)).borders.tolist() == [[90, 120, 300]]


def test_a_run_holds_the_split_with_warm_rows_before_it():
    data = opened(calendar=("hour_of_day",))
    run = data.run("test", warm=100)
    assert run.values.shape == (1, 180, 2)
    assert run.future.shape == (1, 180, 2)
    assert run.first == 100
    assert np.array_equal(run.stamps[100:], data.stamps("test"))
    window = data.windows("test")[np.array([0])]
    assert torch.equal(run.values[:, 100 - 24 : 100 + 8], window.values)
    assert data.run("test", warm=10**6).values.shape[1] == 400
    assert data.run("val").first == 0


def test_the_last_rows_are_forecast_with_times_that_go_on():
    data = opened(calendar=("hour_of_day",))
    [batch] = list(data.predict_dataloader())
    last = data.panel.stamps[-1]
    assert np.array_equal(data.window_stamps(batch, "predict")[0], last + HOUR * np.arange(-23, 9))
    assert np.array_equal(data.stamps("predict"), last + HOUR * np.arange(1, 9))
    assert torch.equal(
        batch.values[:, :24], data.windows("test")[np.array([len(data.windows("test")) - 1])].values[:, 8:]
    )
    assert batch.future.shape == (1, 32, 2)
    assert not batch.target_observed.any()


def test_known_covariates_carry_the_forecast_and_must_reach_its_end():
    def known(empty):
        [recording] = Oscillators(rows=400, covariates=True).recordings()
        target = recording.streams["target"]
        values = target.values.copy()
        values[400 - empty :] = np.nan
        streams = dict(recording.streams) | {
            "target": Stream(target.stamps, values, target.channels, np.isfinite(values))
        }
        return Given(Recording("known", streams, recording.static))

    data = opened(known(8))
    [batch] = list(data.predict_dataloader())
    assert np.array_equal(data.window_stamps(batch, "predict")[0], data.panel.stamps[-32:])
    with pytest.raises(DataError, match="known for 5 rows after its last target, horizon is 8"):
        opened(known(5)).predict_dataloader()


def test_a_trained_scale_is_adopted_for_the_same_channels_only():
    data = opened()
    scaler = Scaler(("channel_0", "channel_1"))
    scaler.mean.fill_(3.0)
    before = data.windows("test")[np.array([0])].values
    raw = data.scaler.inverse(before)
    data.adopt(scaler, HOUR // 2)
    after = data.windows("test")[np.array([0])]
    assert torch.allclose(after.values, raw - 3, atol=1e-5)
    assert (after.gaps[:, 1:] == 2).all()
    with pytest.raises(DataError, match="trained on channels other; oscillators has channel_0, channel_1"):
        data.adopt(Scaler(("other",)), HOUR)


def test_a_file_to_forecast_from_may_be_too_short_to_score():
    data = WindowDataModule(Given(series("short", 24)), 24, 8)
    data.setup("predict")
    [batch] = list(data.predict_dataloader())
    assert len(batch) == 1
    with pytest.raises(DataError, match="'short' has 10 rows to read, lookback is 24"):
        short = WindowDataModule(Given(series("short", 10)), 24, 8)
        short.setup("predict")
        short.predict_dataloader()


def test_loaders_take_their_share_of_a_distributed_run():
    data = opened()
    data._share = lambda: Share(1, 2)
    sampler = data.train_dataloader().sampler
    assert isinstance(sampler, WindowSampler)
    assert len(next(iter(data.train_dataloader()))) == 16


def test_evaluation_batches_may_be_larger():
    assert len(next(iter(opened(loading=Loading(eval_batch_size=1000)).val_dataloader()))) == 33


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Given(), "given: the source gave no recordings"),
        (Given(series("a", 100), series("a", 100)), "series 'a' comes twice"),
        (Given(series("a", 100), series("b", 31)), r"'b' has 31 rows, lookback 24 \+ horizon 8 need 32 \(1 such"),
        (Given(series("a", 100), series("b", 100, ("other",))), r"of series 'b' are \('other',\), of 'a' \('a',\)"),
        (Given(Recording("a", {"imu": series("a", 50).streams["target"]})), "none called 'target'"),
        (Given(series("a", 50)), "split 'val' holds no window: its longest series has 29 rows"),
    ],
)
def test_bad_series_say_which_and_what_to_do(source, message):
    with pytest.raises(DataError, match=message):
        opened(source).windows("val")


def test_covariates_on_other_clocks_are_refused():
    streams = {"target": series("a", 50).streams["target"], "past": series("a", 50, start=1).streams["target"]}
    with pytest.raises(DataError, match="streams 'target' and 'past' of series 'a' differ in time"):
        opened(Given(Recording("a", streams)))


def test_short_series_are_left_out_of_a_split_with_a_word():
    data = opened(Given(series("long", 400), series("short", 40)))
    with pytest.warns(UserWarning, match="1 series are too short for a window in 'train': short"):
        assert data.windows("train").index.ends.tolist() == [249, 249]


@pytest.mark.parametrize(("arguments", "message"), [((0, 8), "lookback 0"), ((24, 0), "horizon 0")])
def test_sizes_must_be_positive(arguments, message):
    with pytest.raises(DataError, match=message):
        WindowDataModule(Oscillators(), *arguments)


def test_unknown_splits_and_series_are_named():
    with pytest.raises(DataError, match="split is 'dev': choose one of train, val, test"):
        opened().windows("dev")
    with pytest.raises(DataError, match=r"no series 'x'\. Known are oscillator_0"):
        opened().panel.index("x")


def test_a_channel_never_measured_in_training_is_named():
    recording = series("a", 400, ("a", "b"))
    values = recording.streams["target"].values.copy()
    values[:300, 1] = np.nan
    stream = Stream(recording.streams["target"].stamps, values, ("a", "b"), np.isfinite(values))
    with pytest.raises(DataError, match="given: channel 'b' has no observed value in the 280 training rows"):
        opened(Given(Recording("a", {"target": stream})))


def test_a_data_module_is_written_down_and_built_again():
    from mambats.recipe import describe, rebuild

    data = WindowDataModule(
        Table("a.csv", targets=["x"], reading=Reading(encoding="latin-1")), 96, 24, split=Dates("2020", "2021"),
        calendar=["hour_of_day"], loading=Loading(seed=3),
    )  # fmt: skip
    written = describe(data)
    assert written["class_path"] == "mambats.data.WindowDataModule"
    assert describe(rebuild(written)) == written


def test_workers_give_the_same_batches():
    here, there = (opened(loading=Loading(workers=workers)).train_dataloader() for workers in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.start, other.start)
