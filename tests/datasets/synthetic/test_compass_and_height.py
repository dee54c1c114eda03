import math
from dataclasses import replace

import torch

from mambats.series import Rigid
from mambats_datasets.synthetic.barometer import Barometer
from mambats_datasets.synthetic.magnetometer import Magnetometer
from mambats_datasets.synthetic.trajectory import random_trajectory

TURNED = Rigid("base_link", "magnetometer", (0.0, 0.0, 0.1), (1.0, 0.0, 0.0, 0.0))


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_ideal_magnetometer_turns_the_field_into_its_axes():
    trajectory = random_trajectory("hand", 2, 10.0, fresh())
    sensor = Magnetometer(noise=0.0, hard=0.0, soft=0.0, mount=TURNED)
    reading = sensor.read(trajectory, fresh(1))
    world = trajectory(reading.ticks.time).rotation @ torch.from_numpy(TURNED.matrix[:3, :3])
    back = (world @ reading.values[..., None])[..., 0]
    assert torch.allclose(back, torch.tensor(sensor.earth, dtype=torch.float64).expand_as(back), rtol=0, atol=1e-12)


def test_iron_moves_and_bends_the_sphere_of_fields():
    trajectory = random_trajectory("hand", 200, 10.0, fresh())
    reading = Magnetometer(noise=0.5, soft=0.0).read(trajectory, fresh(1))
    hard = torch.stack([reading.facts[f"hard_{axis}"] for axis in "xyz"], -1)
    assert torch.allclose(hard.std(0), torch.full((3,), 5.0).double(), rtol=0.15)
    radius = (reading.values - hard[:, None]).norm(dim=-1)
    assert math.isclose(float(radius.std()), 0.5, rel_tol=0.05)
    assert Magnetometer().read(trajectory, fresh(1)).values.isfinite().all()


def test_pressure_gives_the_height_back():
    trajectory = random_trajectory("drone", 2, 10.0, fresh())
    sensor = Barometer(noise=0.0, bias=0.0, walk=0.0, ground=400.0)
    reading = sensor.read(trajectory, fresh(1))
    height = (1 - (reading.values[..., 0] / 101_325).pow(1 / 5.25588)) * 288.15 / 0.0065
    assert torch.allclose(height - 400, trajectory(reading.ticks.time).position[..., 2], rtol=0, atol=1e-6)
    assert 95_000 < reading.values.min() < 97_000  # 400 m: 966 hPa


def test_the_weather_walks():
    trajectory = random_trajectory("rest", 1000, 20.0, fresh())
    bias = replace(Barometer(), noise=0.0).read(trajectory, fresh(1)).truth["bias"][..., 0]
    assert math.isclose(float(bias[:, 0].std()), 100.0, rel_tol=0.08)
    assert math.isclose(float((bias[:, 250] - bias[:, 0]).std()), 0.2 * math.sqrt(10), rel_tol=0.08)
