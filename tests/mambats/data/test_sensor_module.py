"""Windows over sensors as a data module: whole drives on one side only, clear words for what cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest

from mambats.data import DataError, Fractions
from mambats.data.sensor_module import SensorDataModule
from mambats_datasets.synthetic.robot import SimulatedRobots

STREAMS = ("imu", "gnss", "wheel")


def test_recordings_are_split_whole() -> None:
    data = SensorDataModule(SimulatedRobots(series=6, duration=4.0), STREAMS, 1.5, batch_size=4)
    data.setup()
    sides = {split: set(data.windows(split).recording.tolist()) for split in ("train", "val", "test")}
    assert sides["train"] | sides["val"] | sides["test"] == set(range(6))
    assert not sides["train"] & (sides["val"] | sides["test"]) and not sides["val"] & sides["test"]
    assert data.channels[0] == "imu.wx" and data.channels[-1] == "wheel.w"
    assert data.fingerprint == SensorDataModule(SimulatedRobots(series=6, duration=4.0), STREAMS, 2.0).fingerprint
    assert (
        data.fingerprint != SensorDataModule(SimulatedRobots(series=6, duration=4.0, seed=1), STREAMS, 2.0).fingerprint
    )


def test_one_recording_is_split_along_its_time_without_overlap() -> None:
    data = SensorDataModule(SimulatedRobots(series=1, duration=12.0), STREAMS, 1.0, 0.5, split=Fractions(0.6, 0.2))
    data.setup()
    ends = {split: data.windows(split) for split in ("train", "val", "test")}
    assert ends["train"].starts.max() + data.length_ns <= ends["val"].starts.min()
    assert ends["val"].starts.max() + data.length_ns <= ends["test"].starts.min()


def test_loaders_give_each_window_once() -> None:
    data = SensorDataModule(SimulatedRobots(series=5, duration=3.0), STREAMS, 1.0, batch_size=2)
    data.setup()
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        seen = [(r, s) for b in loader for r, s in zip(b.recording.tolist(), b.starts.tolist(), strict=True)]
        whole = data.windows(split)
        assert sorted(seen) == sorted(zip(whole.recording.tolist(), whole.starts.tolist(), strict=True))
    batch = next(iter(data.train_dataloader()))
    assert len(batch) == 2 and set(batch.streams) == set(STREAMS) and set(batch.truth) == {"pose", "velocity"}


def test_taking_windows_keeps_streams_and_truth_together() -> None:
    data = SensorDataModule(SimulatedRobots(series=4, duration=3.0), STREAMS, 1.0)
    whole = data.windows("train")
    part = whole.take([1, 0])
    assert np.array_equal(part.starts, whole.starts[[1, 0]])
    assert np.array_equal(part.streams["imu"].values, whole.streams["imu"].values[[1, 0]])
    assert np.array_equal(part.truth["pose"].values, whole.truth["pose"].values[[1, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0.0}, "must be positive"),
        ({"length": 1.0, "stride": -1.0}, "must be positive"),
        ({"length": 1.0, "streams": ()}, "streams is empty"),
    ],
)
def test_numbers_that_cut_nothing_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SensorDataModule(SimulatedRobots(series=3, duration=3.0), **({"streams": STREAMS} | arguments))


def test_what_is_missing_is_named() -> None:
    source = SimulatedRobots(series=3, duration=3.0)
    with pytest.raises(ValueError, match="lidar"):
        SensorDataModule(source, ("lidar",), 1.0).setup()
    with pytest.raises(ValueError, match="no ground truth"):
        SensorDataModule(source, STREAMS, 1.0, truth=("bias",)).setup()
    with pytest.raises(ValueError, match="ns fits into"):
        SensorDataModule(source, STREAMS, 9.0).setup()
    with pytest.raises(DataError, match="no window for"):
        SensorDataModule(SimulatedRobots(series=1, duration=3.0), STREAMS, 2.5).setup()
    with pytest.raises(DataError, match="choose one of"):
        SensorDataModule(source, STREAMS, 1.0).windows("all")
