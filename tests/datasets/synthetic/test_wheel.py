import math
from dataclasses import replace

import numpy as np
import torch

from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.drive import ROBOT, Drive
from mambats_datasets.synthetic.trajectory import random_trajectory
from mambats_datasets.synthetic.wheel import Wheel

QUIET = Wheel(Timing(1000.0), noise=(0.0, 0.0), scale=(0.0, 0.0), slip=(0.0, 1.0))


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def test_integrating_ideal_wheels_returns_the_planar_path():
    """A minute at 1 kHz on flat ground, Simpson's rule twice; the worst was 3e-12 m."""
    from scipy.integrate import cumulative_simpson

    trajectory = Drive.random(replace(ROBOT, tilt=0.0), 1, 60.0, fresh())
    reading = QUIET.read(trajectory, fresh())
    motion = trajectory(reading.ticks.time)
    time, (v, w) = reading.ticks.time[0].numpy(), reading.values[0].T.numpy()
    qz, qw = motion.quaternion[0, 0, 2:].tolist()
    yaw = 2 * math.atan2(qz, qw) + cumulative_simpson(w, x=time, initial=0)
    for axis, turned in ((0, np.cos(yaw)), (1, np.sin(yaw))):
        found = cumulative_simpson(v * turned, x=time, initial=0)
        assert np.abs(found - motion.position[0, :, axis].numpy()).max() < 1e-9
    assert np.ptp(motion.position[0, :, 0].numpy()) > 2
    assert motion.position[..., 2].abs().max() < 1e-12


def test_scale_errors_are_facts_of_the_drive():
    trajectory = random_trajectory("car", 300, 5.0, fresh())
    reading = replace(QUIET, timing=Timing(10.0), scale=(0.02, 0.01)).read(trajectory, fresh(1))
    motion = trajectory(reading.ticks.time)
    ideal = torch.stack([motion.body_velocity[..., 0], motion.angular_velocity[..., 2]], -1)
    scale = torch.stack([reading.facts["scale_v"], reading.facts["scale_w"]], -1)[:, None]
    assert torch.allclose(reading.values, ideal * (1 + scale), rtol=0, atol=1e-12)
    assert torch.allclose(scale.std(0), torch.tensor([[0.02, 0.01]]).double(), rtol=0.15)


def test_slip_makes_wheels_fast_in_spells_and_is_known():
    trajectory = random_trajectory("car", 100, 60.0, fresh())
    reading = replace(QUIET, timing=Timing(20.0), slip=(0.1, 1.0)).read(trajectory, fresh(1))
    slip, speed = reading.truth["slip"][..., 0], trajectory(reading.ticks.time).body_velocity[..., 0]
    assert torch.allclose(reading.values[..., 0], speed * (1 + slip), rtol=0, atol=1e-12)
    assert abs(float((slip > 0).double().mean()) - 0.1) < 0.015
    assert 0.29 < slip.max() <= 0.3
    runs = (slip[:, 1:] != slip[:, :-1]).sum() / 2  # each spell has one size: it begins and ends
    assert math.isclose(float((slip > 0).sum() / runs) / 20, 1.0, rel_tol=0.1)


def test_noise_is_as_large_as_stated():
    trajectory = random_trajectory("robot", 50, 20.0, fresh())
    wheel = replace(QUIET, timing=Timing(50.0), noise=(0.02, 0.01))
    error = wheel.read(trajectory, fresh(1)).values - replace(wheel, noise=(0.0, 0.0)).read(trajectory, fresh(1)).values
    assert torch.allclose(error.std((0, 1)), torch.tensor(wheel.deviations).double(), rtol=0.02)
