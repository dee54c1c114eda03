"""Numbers asked of streams: causal, trained through the data module, refused where nothing can be answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch

from mambats.data import Fractions
from mambats.data.sensor_module import SensorDataModule
from mambats.encoders import ImuEncoder
from mambats.encoders.features import ExtractingFusion
from mambats.encoders.fusion import StreamFusion
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.recipe import describe, rebuild
from mambats.regress.stream_model import StreamRegressor
from mambats.regress.stream_task import StreamRegressTask, StreamReport
from mambats.series import SensorWindow
from mambats.task import Optimiser
from mambats_datasets.synthetic.own_motion import OwnMotion
from mambats_datasets.synthetic.robot import SimulatedRobots

SMALL = MambaSettings(state_size=4)


def build() -> StreamRegressor:
    torch.manual_seed(0)
    fusion = StreamFusion({"imu": 8, "ask": 0}, 8, 1, period_ns=10**8, mixer=SMALL)
    imu = ImuEncoder(8, 10**8, Preintegration(), room=30)
    return StreamRegressor(ExtractingFusion(fusion, {"imu": imu}), ["v", "w"], hidden=16)


@pytest.fixture(scope="module")
def data() -> SensorDataModule:
    robots = OwnMotion(SimulatedRobots("robot", series=6, duration=4.1, sensors=("imu",)), every=50)
    split = Fractions(train=0.6, test=0.2)
    return SensorDataModule(robots, ["imu"], 1.0, batch_size=4, truth=("motion",), split=split)


def ask(model: StreamRegressor, window: SensorWindow) -> torch.Tensor:
    return model(window.streams, window.truth["motion"], window.length_ns)


def test_an_answer_knows_nothing_later(data: SensorDataModule) -> None:
    model, window = build(), data.windows("test")
    imu, asked = window.streams["imu"], window.truth["motion"]
    first = asked.stamps[:, :1]
    later = (imu.stamps > first).unsqueeze(-1)
    changed = replace(window, streams={"imu": replace(imu, values=torch.where(later, 5.0, imu.values))})
    said, again = ask(model, window), ask(model, changed)
    assert said.shape == (len(window), asked.mask.shape[1], 2)
    torch.testing.assert_close(again[:, 0], said[:, 0])
    assert not torch.allclose(again[:, -1], said[:, -1])


def test_a_stream_may_be_missing_and_the_values_of_the_question_are_not_read(data: SensorDataModule) -> None:
    model, window = build(), data.windows("test")
    asked = window.truth["motion"]
    hidden = replace(asked, values=torch.full_like(asked.values, torch.nan))
    assert torch.equal(model(window.streams, hidden, window.length_ns), ask(model, window))
    assert model({}, asked, window.length_ns).isfinite().all()


def test_it_trains_through_the_module_reports_and_is_built_again(data: SensorDataModule, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = StreamRegressTask(build(), optimiser=Optimiser(lr=0.03))
    report = task.report("small", tmp_path)
    assert isinstance(report, StreamReport)
    trainer = lightning.Trainer(
        max_epochs=10, logger=False, callbacks=[report], enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    scores = {(row.model, row.metric): row.value for row in report.rows}
    assert all(value > 0 for value in scores.values())
    assert {model for model, _ in scores} == {"small", "training mean"}
    window = data.windows("train")
    asked = window.truth["motion"]
    miss = (task.model.estimate(ask(task.model.eval(), window)) - asked.values)[asked.mask]
    spread = asked.values[asked.mask].std(0)
    assert (miss.square().mean(0).sqrt() < spread).all()  # of what it saw it says more than the mean
    assert (tmp_path / "results.json").exists()
    saved: dict[str, object] = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(saved)
    other = rebuild(describe(task))
    assert isinstance(other, StreamRegressTask)
    other.on_load_checkpoint(saved)
    other.load_state_dict(task.state_dict())
    window = data.windows("test")
    assert torch.equal(ask(other.model.eval(), window), ask(task.model.eval(), window))


def test_what_cannot_answer_is_refused(data: SensorDataModule) -> None:
    fusion = StreamFusion({"imu": 6, "ask": 0}, 8, 1, period_ns=10**8, mixer=SMALL)
    with pytest.raises(ValueError, match="'now' among them, with 0 channels"):
        StreamRegressor(fusion, ["v"], ask="now")
    with pytest.raises(ValueError, match="need one target"):
        StreamRegressor(fusion, [])
    with pytest.raises(ValueError, match=r"truth has shape \(4, 3\): need \(n, 1\)"):
        StreamRegressor(fusion, ["v"]).scale(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="seen no data"):
        StreamRegressTask(build()).on_save_checkpoint({})
