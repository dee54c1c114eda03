from dataclasses import replace

import numpy as np
import pytest
import torch

from mambats.data import DataError
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.gnss import Gnss
from mambats_datasets.synthetic.grade import TACTICAL
from mambats_datasets.synthetic.robot import START, SimulatedRobots

ALL = ("imu", "gnss", "wheel", "magnetometer", "barometer")


def test_recordings_have_streams_frames_facts_and_truth():
    robots = SimulatedRobots("car", 2, 10.0, sensors=ALL, mounts={"gnss": (0.0, 0.0, 1.5)})
    first, second = robots.recordings()
    assert first.name == "car_0" and second.name == "car_1"
    assert set(first.streams) == set(ALL)
    assert {"pose", "velocity", "rate", "imu_bias", "gnss_multipath", "wheel_slip"} <= set(first.truth)
    assert first.streams["imu"].channels == ("wx", "wy", "wz", "ax", "ay", "az")
    assert first.streams["imu"].units == ("rad/s",) * 3 + ("m/s^2",) * 3
    assert first.streams["imu"].frame == "imu" and first.streams["gnss"].frame == "map"
    assert first.frames.transform("base_link", "gnss")[2, 3] == 1.5
    assert all(np.isfinite(stream.values).all() for stream in (*first.streams.values(), *first.truth.values()))
    assert first.streams["wheel"].covariance.shape == (2, 2)
    assert len(first.truth["pose"]) == 1000 and first.truth["pose"].stamps[0] == START
    assert not np.array_equal(first.truth["pose"].values, second.truth["pose"].values)


def test_the_same_arguments_give_the_same_bits_and_longer_lists_begin_alike():
    two, three, other = (
        SimulatedRobots(series=n, duration=5.0, seed=s).recordings() for n, s in ((2, 0), (3, 0), (2, 1))
    )
    for one, same in zip(two, three, strict=False):
        for name, stream in one.streams.items():
            assert np.array_equal(stream.values, same.streams[name].values)
            assert np.array_equal(stream.stamps, same.streams[name].stamps)
    assert not np.array_equal(two[0].streams["imu"].values, other[0].streams["imu"].values)


def test_stamps_are_the_sensors_and_truth_is_the_worlds():
    """An ideal IMU whose clock is 37.3 ms ahead and 100 ppm fast: its own stamps mislead, the stated clock corrects."""
    robots = SimulatedRobots("hand", 1, 20.0, imu="ideal", sensors=["imu"], clocks={"imu": (0.0373, 100.0)})
    recording = robots.recordings()[0]
    assert recording.static["imu_offset"] == 0.0373 and recording.static["imu_drift"] == 100.0
    imu, rate = recording.streams["imu"], recording.truth["rate"]
    said = (imu.stamps - START) / 1e9
    true = (said - 0.0373) / (1 + 100e-6)
    world = (rate.stamps - START) / 1e9
    inside = (true > 0.1) & (true < 19.8)
    corrected, trusted = (np.interp(t[inside], world, rate.values[:, 0]) for t in (true, said))
    assert np.abs(corrected - imu.values[inside, 0]).max() < 1e-3
    assert np.abs(trusted - imu.values[inside, 0]).max() > 0.05
    assert abs((said[-1] - said[0]) / (true[-1] - true[0]) - 1.0001) < 1e-9


def test_lost_measurements_are_not_in_the_stream():
    recording = SimulatedRobots("robot", 1, 600.0, sensors=["gnss"]).recordings()[0]
    fixes = recording.streams["gnss"]
    assert len(fixes) < len(recording.truth["gnss_multipath"]) == 3000
    assert np.diff(fixes.stamps).max() > 1e9


def test_batches_are_tensors_on_the_device_of_the_generator():
    robots = SimulatedRobots("drone", duration=5.0)
    one, two = (robots.batch(3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert set(one.readings) == {"imu", "gnss"}
    assert one.readings["imu"].values.shape == (3, 1000, 6) and one.motion.position.shape == (3, 500, 3)
    assert torch.equal(one.readings["imu"].values, two.readings["imu"].values)
    assert torch.equal(one.trajectory(one.time).position, one.motion.position)
    assert not torch.equal(one.readings["imu"].values[0], one.readings["imu"].values[1])


def test_sensors_of_any_make_can_be_carried_under_any_name():
    """Two receivers and a unit of its own rate; names, clocks and mounts go by the name."""
    roof, bumper = Gnss(origin=(47.37, 8.54, 400.0)), Gnss()
    carried = {"roof": roof, "bumper": bumper, "imu": replace(TACTICAL, timing=Timing(50.0))}
    mounts = {"roof": (0.0, 0.0, 1.5), "bumper": (2.0, 0.0, 0.4)}
    robots = SimulatedRobots("car", 1, 10.0, sensors=carried, mounts=mounts, clocks={"bumper": (1.0, 0.0)})
    recording = robots.recordings()[0]
    assert set(recording.streams) == {"roof", "bumper", "imu"} and len(recording.streams["imu"]) == 500
    assert recording.streams["roof"].channels[0] == "latitude" and recording.streams["roof"].units[0] == "deg"
    assert recording.frames.transform("roof", "bumper")[0, 3] == 2.0
    assert recording.streams["bumper"].stamps[0] - recording.streams["roof"].stamps[0] == 10**9


def test_a_recipe_builds_them_from_plain_values():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(SimulatedRobots, "data")
    gnss = {"class_path": "mambats_datasets.synthetic.gnss.Gnss", "init_args": {"origin": [47.0, 8.0, 400.0]}}
    for sensors in (["imu", "gnss"], {"gnss": gnss}):
        recipe = {"data": {"kind": "car", "sensors": sensors, "clocks": {"gnss": [0.1, 20.0]}, "duration": 5.0}}
        robots = parser.instantiate_classes(parser.parse_object(recipe)).data
        assert set(robots.sensors) == set(sensors) and robots.sensors["gnss"].timing.offset == 0.1
    assert robots.sensors["gnss"].origin == (47.0, 8.0, 400.0)


def test_wrong_names_and_numbers_say_what_is_needed():
    for wrong, message in (
        ({"kind": "boat"}, "kind names"),
        ({"kind": "drone", "sensors": ["wheel"]}, "sensors names .*wheel.*: choose of imu, gnss"),
        ({"imu": "navigation"}, "choose of ideal, consumer, tactical"),
        ({"clocks": {"lidar": (0, 0)}}, "clocks names"),
        ({"clocks": {"imu": (0.1,)}}, "offset in seconds and drift in ppm"),
        ({"mounts": {"imu": (0.1,)}}, "x, y, z"),
        ({"duration": 0.0}, "must be positive"),
    ):
        with pytest.raises(DataError, match=message):
            SimulatedRobots(**wrong)


@pytest.mark.gpu
def test_a_gpu_makes_batches():
    drive = SimulatedRobots("car", duration=5.0, sensors=ALL).batch(4, torch.Generator("cuda").manual_seed(0))
    assert all(reading.values.is_cuda and reading.values.isfinite().all() for reading in drive.readings.values())
    assert drive.motion.position.is_cuda
