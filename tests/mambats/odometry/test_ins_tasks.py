"""Tasks without fixes: where windows start, a first epoch that trains nothing, and what does not fit."""

from __future__ import annotations

import lightning as L
import pytest
import torch

from mambats.data.split import Fractions
from mambats.encoders import CausalEncoder
from mambats.estimators import ConstantNoise, InertialFilter, LearnedNoise, RandomWalk
from mambats.estimators.extended import ExtendedKalmanFilter
from mambats.formats.error import DataError
from mambats.odometry.ins import BiasTask, Blackout, FlightData, LearnedBias, OutageData, OutageTask
from mambats.task import Optimiser
from mambats_datasets.synthetic.robot import SimulatedRobots
from tests.mambats.estimators.turning import straight


def drone(seconds=8.0):
    return SimulatedRobots("drone", series=1, duration=seconds, imu="consumer", sensors=("imu",), seed=1)


def car(seconds=12.0):
    return SimulatedRobots("car", series=1, duration=seconds, sensors=("imu", "gnss"), seed=1)


def learned(**options):
    noise = {"imu": RandomWalk([1e-3, 5e-2, 3e-6, 2e-4]), "gnss": ConstantNoise([0.1] * 3)}
    noise["rolling"] = ConstantNoise([0.3, 0.3])
    inertial = InertialFilter(noise)
    return LearnedNoise(inertial, CausalEncoder(LearnedNoise.channels_for(inertial), width=8, layers=1), **options)


def test_windows_end_within_their_split():
    data = OutageData(car(), settle=2.0, split=Fractions(0.5, 0.25))
    data.setup()
    data.lay_out(3, 1)
    fixes, (first, second, last) = len(data.parts[0].fixes), data.borders(0)
    rate = data.rate(data.parts[0])
    train, val, test = (data.starts(split, 0, reach) for split, reach in (("train", 3), ("val", 1), ("test", 2)))
    assert last == fixes
    assert train[0] == round(2 * rate) and train[-1] + 3 * rate <= first - 1 + 1e-6
    assert val[0] == first and val[-1] + rate <= second - 1 + 1e-6
    assert test[0] == second and test[-1] + 2 * rate <= last - 1 + 1e-6
    drawn = [batch.rows for batch in data.train_dataloader()]
    assert len(drawn) == data.steps and set(torch.cat(drawn).tolist()) <= set(train.tolist())
    assert [batch.rows.tolist() for batch in data.val_dataloader()] == [val.tolist()]


def test_a_recording_that_is_too_short_is_named():
    data = OutageData(car(), settle=2.0)
    data.setup()
    with pytest.raises(DataError, match="no window for train and val"):
        data.lay_out(30, 20)
    with pytest.raises(DataError, match="must be positive"):
        FlightData(drone(), steps=0)


def fitted(monkeypatch, epochs):
    """A bias task after some epochs at a rate of learning that ruins it."""
    monkeypatch.setattr(BiasTask, "known", lambda *of: lambda starts: torch.zeros(len(starts), 6).double())
    torch.manual_seed(0)
    task = BiasTask(
        LearnedBias(CausalEncoder(6, width=8, layers=1)), Optimiser(lr=1.0, schedule="constant"), lengths=(1,), before=1
    )
    data = FlightData(drone(), settle=1.0, steps=2, batch_size=2, split=Fractions(0.5, 0.25))
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, data)
    return task, float(trainer.callback_metrics["val_loss"])


def test_the_first_epoch_leaves_the_known_bias(monkeypatch):
    task, before = fitted(monkeypatch, 1)
    readings, known = torch.randn(2, 300, 6).double(), torch.randn(2, 6).double()
    assert torch.equal(task.model(readings, known, 200), known[:, None].expand(2, 100, 6))
    changed, after = fitted(monkeypatch, 2)
    assert not torch.equal(changed.model(readings, known, 200), known[:, None].expand(2, 100, 6))
    assert before != after


def test_what_was_trained_must_pay_by_a_margin(monkeypatch):
    monkeypatch.setattr(
        BiasTask, "cost", lambda self, batch, stage: sum(p.sum() for p in self.parameters()) * 0.0 + 2.0
    )
    assert fitted(monkeypatch, 1)[1] == pytest.approx(2.0)
    assert fitted(monkeypatch, 2)[1] == pytest.approx(2.02)


def test_what_was_given_can_be_told_from_what_was_tuned():
    task = OutageTask(learned(widest=2.0), blackout=Blackout(3, 4), tune=3)
    assert task.reach == (7, 4)
    assert not any(p.requires_grad for p in task.filter.parameters()) and task.model.head.weight.requires_grad
    task.filter.noises["rolling"].log_diagonal.data += 1.0
    given = task.as_given().noises["rolling"].matrix().sqrt().diagonal()
    torch.testing.assert_close(given, torch.full((2,), 0.3).double())


def test_the_mixer_can_be_left_out():
    whole, bare = OutageTask(learned()), OutageTask(learned(), no_mixer=True)
    assert sum(p.numel() for p in bare.model.parameters()) < sum(p.numel() for p in whole.model.parameters())


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="lengths"):
        OutageTask(learned(), lengths=())
    with pytest.raises(ValueError, match="tune"):
        OutageTask(learned(), tune=-1)
    with pytest.raises(ValueError, match="before"):
        BiasTask(LearnedBias(CausalEncoder(6, width=8, layers=1)), before=0)
    plain = straight(ExtendedKalmanFilter)
    other = LearnedNoise(plain, CausalEncoder(LearnedNoise.channels_for(plain), width=8, layers=1))
    with pytest.raises(TypeError, match="InertialFilter"):
        OutageTask(other)
    task = BiasTask(LearnedBias(CausalEncoder(6, width=8, layers=1)))
    with pytest.raises(ValueError, match="fit it first"):
        task.on_save_checkpoint({})
