import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats_datasets.synthetic.drive import CAR, Drive
from mambats_datasets.synthetic.motion import rotate, unrotate
from mambats_datasets.synthetic.trajectory import KINDS, in_blocks, random_trajectory, uniform_times
from mambats_datasets.synthetic.wave import Waves

STEP = 1e-3


def draw(kind, batch=2, duration=10.0, seed=0):
    return random_trajectory(kind, batch, duration, torch.Generator().manual_seed(seed))


def difference(look):
    """Derivative by five points: its error is STEP^4 / 30 of the fifth derivative."""
    return (8 * (look(STEP) - look(-STEP)) - (look(2 * STEP) - look(-2 * STEP))) / (12 * STEP)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31), start=st.floats(0, 29))
def test_derivatives_equal_finite_differences(kind, seed, start):
    trajectory = draw(kind, duration=30.0, seed=seed)
    t = start + torch.rand((2, 20), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    motion = trajectory(t)
    pairs = [
        (motion.velocity, difference(lambda h: trajectory(t + h).position)),
        (motion.acceleration, difference(lambda h: trajectory(t + h).velocity)),
        (motion.angular_acceleration, difference(lambda h: trajectory(t + h).angular_velocity)),
    ]
    spin = motion.rotation.mT @ difference(lambda h: trajectory(t + h).rotation)
    pairs.append((motion.angular_velocity, torch.stack([spin[..., 2, 1], spin[..., 0, 2], spin[..., 1, 0]], -1)))
    for exact, approximate in pairs:
        assert torch.allclose(exact, approximate, rtol=0, atol=1e-6 * (1 + float(exact.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
def test_quaternions_are_rotations_and_agree_with_scipy(kind):
    from scipy.spatial.transform import Rotation

    motion = draw(kind)(uniform_times(2, 10.0, 50.0))
    assert torch.allclose(motion.quaternion.norm(dim=-1), torch.ones(2, 500).double(), rtol=0, atol=1e-14)
    theirs = Rotation.from_quat(motion.quaternion.reshape(-1, 4).numpy()).as_matrix()
    assert np.allclose(motion.rotation.reshape(-1, 3, 3).numpy(), theirs, rtol=0, atol=1e-14)
    turned = (motion.rotation @ motion.velocity[..., None])[..., 0]
    assert torch.allclose(rotate(motion.quaternion, motion.velocity), turned, rtol=0, atol=1e-12)
    assert torch.allclose(unrotate(motion.quaternion, turned), motion.velocity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["robot", "car"])
def test_wheeled_bodies_move_along_their_x_axis_only(kind):
    motion = draw(kind, 4, 60.0)(uniform_times(4, 60.0, 20.0))
    assert motion.body_velocity[..., 1:].abs().max() < 1e-13
    assert motion.body_velocity[..., 0].std() > 0.1
    assert motion.position[:, 0].abs().max() < 1e-12


def test_a_car_stays_within_what_tyres_hold_and_never_backs_up():
    motion = draw("car", 16, 120.0)(uniform_times(16, 120.0, 10.0))
    assert motion.body_velocity[..., 0].min() > 0
    assert motion.specific_force()[..., 1].abs().max() < 5


def test_a_drone_pushes_along_its_own_z_and_stays_above_the_ground():
    motion = draw("drone", 8, 60.0)(uniform_times(8, 60.0, 20.0))
    force = motion.specific_force()
    assert force[..., :2].abs().max() < 1e-12
    assert 7.8 < force[..., 2].min() < force[..., 2].max() < 14
    assert motion.position[..., 2].min() > 1


def test_a_path_is_the_integral_of_its_velocity_to_a_rounding_error():
    """Against Gauss-Legendre of 30 nodes on steps of 0.0731 s, at their ends: 600 s of a car, 7 km."""
    drive = Drive.random(CAR, 1, 600.0, torch.Generator().manual_seed(3))
    step, (nodes, weights) = 0.0731, np.polynomial.legendre.leggauss(30)
    starts = torch.arange(int(600 / step), dtype=torch.float64) * step
    inside = starts[:, None] + step * (torch.from_numpy(nodes) + 1) / 2
    velocity = drive(inside.reshape(1, -1)).velocity.reshape(len(starts), 30, 3)
    reference = (step / 2 * torch.einsum("snc,n->sc", velocity, torch.from_numpy(weights))).cumsum(0)
    found = drive((starts + step)[None]).position[0]
    assert found.abs().max() > 100
    assert (found - reference).abs().max() < 1e-11


@given(
    seed=st.integers(0, 2**31),
    limits=st.lists(st.dictionaries(st.integers(-1, 3), st.floats(1e-3, 1e3), min_size=1), min_size=1, max_size=3),
)
def test_waves_keep_within_their_bounds(seed, limits):
    waves = Waves.random(3, (0.05, 2.0), limits, torch.Generator().manual_seed(seed))
    for channel, bounds in enumerate(limits):
        tight = [waves.bound(order)[:, channel] / peak for order, peak in bounds.items()]
        assert torch.allclose(torch.stack(tight).amax(0), torch.ones(3).double())
    t = uniform_times(3, 20.0, 50.0)
    for order in (-1, 0, 2):
        assert (waves(t, (order,))[0].abs().amax(-1).T <= waves.bound(order) * (1 + 1e-12)).all()


def test_blocks_see_what_the_whole_sees(monkeypatch):
    monkeypatch.setattr("mambats_datasets.synthetic.trajectory.BLOCK", 64)
    trajectory, t = draw("robot", 3), uniform_times(3, 10.0, 33.0)
    found = in_blocks(trajectory, t, lambda motion: motion.position)
    assert torch.equal(found, trajectory(t).position)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    t = uniform_times(2, 10.0, 20.0)
    for kind in KINDS:
        one, two, other = (draw(kind, seed=seed)(t) for seed in (1, 1, 2))
        assert torch.equal(one.position, two.position) and torch.equal(one.quaternion, two.quaternion)
        assert not torch.allclose(one.quaternion, other.quaternion)


def test_a_point_of_a_body_swings_with_it():
    trajectory, t, lever = draw("hand"), uniform_times(2, 10.0, 20.0) + 0.01, (0.3, -0.2, 0.5)
    moved = trajectory(t).at(lever)
    assert torch.allclose(moved.velocity, difference(lambda h: trajectory(t + h).at(lever).position), atol=1e-6)
    assert torch.allclose(moved.acceleration, difference(lambda h: trajectory(t + h).at(lever).velocity), atol=1e-5)
    assert torch.allclose(moved.specific_force(), trajectory(t).specific_force(lever), rtol=0, atol=1e-12)
    assert math.isclose(float((moved.position - trajectory(t).position).norm(dim=-1).max()), math.hypot(*lever))


def test_wrong_calls_say_what_is_needed():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="choose of robot, courier, car"):
        random_trajectory("boat", 1, 1.0, generator)
    with pytest.raises(ValueError, match="must be positive"):
        random_trajectory("car", 0, 1.0, generator)
    with pytest.raises(ValueError, match="with B = 2"):
        draw("drone")(torch.zeros(3, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="longer duration"):
        draw("car", duration=5.0)(uniform_times(2, 10.0, 5.0))


def test_a_courier_stands_still_at_first_and_now_and_then():
    trajectory, t = draw("courier", 8, 100.0), uniform_times(8, 100.0, 50.0)
    motion = trajectory(t)
    still = (motion.velocity == 0).all(-1) & (motion.angular_velocity == 0).all(-1)
    assert still[:, :150].all()
    begins = (still[:, 1:] & ~still[:, :-1]).sum(1)
    assert (begins == 5).all()
    assert 10 / 100 < float(still[:, 150:].double().mean()) < 30 / 100
    level = trajectory(t).specific_force()[still]
    assert torch.allclose(level.norm(dim=-1), torch.tensor(9.80665, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_tumbling_unit_rests_in_attitudes_all_over_the_sphere():
    trajectory = draw("tumble", 4, 110.0)
    motion = trajectory(uniform_times(4, 110.0, 20.0))
    rests = motion.angular_velocity.norm(dim=-1) == 0
    assert math.isclose(float(rests.double().mean()), 4 / 5.5, rel_tol=0.05)
    force = motion.specific_force()[rests]
    assert (force.amax(0) > 7).all() and (force.amin(0) < -7).all()
    turned = motion.rotation[:, 0].mT @ motion.rotation[:, 110]
    angle = ((turned.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).acos()
    assert torch.allclose(angle, trajectory.turns[:, 0].norm(dim=-1), rtol=0, atol=1e-9)
    rest = draw("rest", 4, 110.0)(uniform_times(4, 110.0, 20.0))
    assert (rest.angular_velocity == 0).all() and torch.equal(rest.quaternion[:, 0], rest.quaternion[:, -1])
