import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.grade import CONSUMER, GRADES, IDEAL, TACTICAL
from mambats_datasets.synthetic.imu import Imu, Triad
from mambats_datasets.synthetic.motion import GRAVITY, Motion
from mambats_datasets.synthetic.trajectory import KINDS, random_trajectory

FAST = Timing(1000.0)
WEST = Rigid("base_link", "imu", (0.3, -0.1, 0.2), (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))


def drives(kind="hand", batch=1, duration=5.0, seed=0):
    return random_trajectory(kind, batch, duration, torch.Generator().manual_seed(seed))


def read(imu, trajectory, seed=1):
    return imu.read(trajectory, torch.Generator().manual_seed(seed))


def cross(a, b):
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]


def strapdown(values, motion, rate):
    """Integrate IMUs (B, T, 6) by classical Runge-Kutta over pairs of samples, from the true start: order 4."""

    def slope(state, row):
        turn, w = state[:, :3], state[:, 3:4]
        spin = np.concatenate([w * row[:, :3] + cross(turn, row[:, :3]), -(turn * row[:, :3]).sum(1, keepdims=True)], 1)
        force = row[:, 3:] + 2 * cross(turn, cross(turn, row[:, 3:]) + w * row[:, 3:])
        return np.concatenate([0.5 * spin, force - (0, 0, GRAVITY), state[:, 4:7]], 1)

    step = 2 / rate
    state = np.concatenate([part[:, 0].numpy() for part in (motion.quaternion, motion.velocity, motion.position)], 1)
    for first in range(0, values.shape[1] - 2, 2):
        start, middle, end = np.moveaxis(values[:, first : first + 3], 1, 0)
        k1 = slope(state, start)
        k2 = slope(state + step / 2 * k1, middle)
        k3 = slope(state + step / 2 * k2, middle)
        k4 = slope(state + step * k3, end)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state[:, :4], state[:, 4:7], state[:, 7:]


def returns(parts, motion, row):
    """Whether a strapdown ended where the motion was."""
    for found, true, near in zip(
        parts, (motion.quaternion, motion.velocity, motion.position), (1e-9, 1e-8, 1e-8), strict=True
    ):
        assert np.abs(found - true[:, row].numpy()).max() < near


def test_integrating_the_ideal_imu_returns_the_trajectory():
    """Five seconds at 1 kHz of every kind by Runge-Kutta; the worst were 4e-10 m,
    2e-10 m/s and 5e-12 of the quaternion, those of the hand."""
    values, motions = list[np.ndarray](), list[Motion]()
    for kind in KINDS:
        trajectory = drives(kind)
        reading = read(replace(IDEAL, timing=FAST), trajectory)
        values.append(reading.values.numpy())
        motions.append(trajectory(reading.ticks.time))
    motion = Motion(*(torch.cat([getattr(one, part.name) for one in motions]) for part in fields(Motion)))
    returns(strapdown(np.concatenate(values)[:, :-1], motion, 1000.0), motion, 4998)


def test_a_turned_imu_on_an_arm_measures_its_own_place_and_axes():
    trajectory = drives(batch=4)
    reading = read(replace(IDEAL, timing=FAST, mount=WEST), trajectory)
    values = reading.values[:, :-1].numpy() @ np.kron(np.eye(2), WEST.matrix[:3, :3]).T
    motion = trajectory(reading.ticks.time).at(WEST.translation)
    returns(strapdown(values, motion, 1000.0), motion, 4998)


def test_the_allan_deviation_of_the_noise_falls_with_the_root_of_time():
    imu = Imu(Triad(noise=1e-3), Triad(noise=2e-2), Timing(100.0))
    trajectory = drives("robot", 16, 100.0)
    reading = read(imu, trajectory)
    error = reading.values - imu.ideal(trajectory(reading.ticks.time))
    for span in (1, 10, 50):  # 50: 16 x 200 means of three axes are known to 1 %
        means = error.unflatten(1, (-1, span)).mean(2)
        allan = (means.diff(dim=1).square().mean((0, 1)) / 2).sqrt() * (span / 100.0) ** 0.5
        assert torch.allclose(allan, torch.tensor([1e-3] * 3 + [2e-2] * 3).double(), rtol=0.05)


def test_biases_start_and_walk_as_stated():
    imu = Imu(Triad(bias=0.1, walk=0.02), Triad(instability=0.3), Timing(50.0))
    bias = read(imu, drives("rest", 1000, 20.0)).truth["bias"]
    assert math.isclose(float(bias[:, 0, :3].std()), 0.1, rel_tol=0.05)
    for row in (250, 999):
        walked = float((bias[:, row, :3] - bias[:, 0, :3]).var())
        assert math.isclose(walked, 0.02**2 * row / 50.0, rel_tol=0.1)
        assert math.isclose(float(bias[:, row, 3:].std()), 0.3, rel_tol=0.05)


def test_scale_misalignment_and_leaks_are_one_matrix_for_the_whole_drive():
    imu = Imu(Triad(scale=0.02, misalignment=0.01), Triad(scale=0.03), Timing(50.0), g_sensitivity=1e-3)
    trajectory = drives("hand", 200)
    reading = read(imu, trajectory)
    ideal = imu.ideal(trajectory(reading.ticks.time))
    mix = torch.linalg.lstsq(ideal, reading.values).solution.mT
    assert torch.allclose(ideal @ mix.mT, reading.values, rtol=0, atol=1e-9)
    away = mix - torch.eye(6).double()
    assert math.isclose(float(away.diagonal(dim1=1, dim2=2)[:, :3].std()), 0.02, rel_tol=0.1)
    assert math.isclose(float(away.diagonal(dim1=1, dim2=2)[:, 3:].std()), 0.03, rel_tol=0.1)
    assert math.isclose(float(torch.stack([away[:, 0, 1], away[:, 2, 0]]).std()), 0.01, rel_tol=0.15)
    assert math.isclose(float(away[:, :3, 3:].std()), 1e-3, rel_tol=0.1)
    assert away[:, 3:, :3].abs().max() < 1e-9


def test_values_saturate_and_come_in_steps():
    imu = Imu(Triad(limit=0.5, step=0.01), Triad(limit=10.0, step=0.1), Timing(100.0))
    trajectory = drives("hand", 4)
    reading = read(imu, trajectory)
    ideal = imu.ideal(trajectory(reading.ticks.time))
    limit, step = (torch.tensor([a] * 3 + [b] * 3, dtype=torch.float64) for a, b in ((0.5, 10.0), (0.01, 0.1)))
    outside = ideal.abs() > limit
    assert outside[..., :3].any() and outside[..., 3:].any()
    assert torch.allclose(reading.values.abs()[outside], limit.expand_as(ideal)[outside])
    assert torch.allclose(reading.values / step, (reading.values / step).round(), rtol=0, atol=1e-9)
    assert ((reading.values - ideal).abs() <= step / 2 + 1e-9)[~outside].all()


def test_at_rest_and_level_the_accelerometer_reads_gravity_upwards():
    reading = read(replace(IDEAL, timing=Timing(50.0)), drives("robot", 4, 60.0))
    assert math.isclose(float(reading.values[..., 5].mean()), 9.80665, abs_tol=0.01)


@pytest.mark.parametrize("grade", GRADES)
def test_the_same_seed_gives_the_same_bits_in_every_grade(grade):
    one, two, other = (read(GRADES[grade], drives(), seed).values for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert torch.equal(one, other) == (grade == "ideal")
    assert one.dtype == torch.float64 and torch.isfinite(one).all()


def test_impossible_errors_are_refused():
    for wrong in ({"noise": -1.0}, {"limit": 0.0}, {"scale": float("nan")}):
        with pytest.raises(ValueError, match="needed 0 or more"):
            Triad(**wrong)


def test_grades_stand_in_order():
    assert TACTICAL.gyro.noise < CONSUMER.gyro.noise and TACTICAL.accel.bias < CONSUMER.accel.bias
    assert all(a <= b for a, b in zip(TACTICAL.deviations, CONSUMER.deviations, strict=True))


@pytest.mark.gpu
def test_a_gpu_measures_the_same_physics():
    trajectory = random_trajectory("robot", 8, 20.0, torch.Generator("cuda").manual_seed(0))
    imu = replace(CONSUMER, mount=WEST)
    reading = imu.read(trajectory, torch.Generator("cuda").manual_seed(1))
    assert reading.values.is_cuda and torch.isfinite(reading.values).all()
    ideal = replace(IDEAL, mount=WEST).read(trajectory, torch.Generator("cuda").manual_seed(1))
    error = reading.values - ideal.values
    assert error.abs().amax() < 2 and error[..., :3].abs().amax() < 0.2
