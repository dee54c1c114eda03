"""The sensor's own motion, told from what stands still."""

import math

import numpy as np
import pytest
import torch

from mambats.track import BoxNoise, Detector
from mambats.track.ego_bodies import Looks, pairs, shift_of_most, turned
from mambats.track.ego_motion import EgoEstimator, EgoState, _past
from mambats.track.ego_path import MovingDetector, doubted, estimate_path
from mambats.track.late import LateFrames
from tests.mambats.track.worlds import objects, tracker

STEP = 0.1
SPEED, TURN = 8.0, 0.2  # m/s and rad/s of the sensor
SIGMA = 0.1


def way(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """True places (F, 2) and headings (F,) of a sensor on an arc."""
    heading = TURN * STEP * np.arange(frames)
    radius = SPEED / TURN
    return radius * np.column_stack([np.sin(heading), 1 - np.cos(heading)]), heading


def seen(frames: int = 60, standing: int = 8, driving: int = 3, seed: int = 0) -> torch.Tensor:
    """Boxes frame by frame of bodies that stand, and of some that drive, as the sensor sees them with noise."""
    random = np.random.default_rng(seed)
    place, heading = way(frames)
    start = random.uniform([-10, -30], [60, 50], (standing + driving, 2))
    yaw, speed = random.uniform(-3, 3, standing + driving), np.r_[np.zeros(standing), random.uniform(4, 10, driving)]
    made = []
    for f in range(frames):
        there = start + STEP * f * (speed * np.stack([np.cos(yaw), np.sin(yaw)])).T
        cos, sin = math.cos(heading[f]), math.sin(heading[f])
        local = (there - place[f]) @ np.array([[cos, -sin], [sin, cos]])
        boxes = np.column_stack([local, np.zeros(len(yaw)), np.tile([4.0, 1.8, 1.5], (len(yaw), 1)), yaw - heading[f]])
        made.append(torch.from_numpy(boxes + SIGMA * random.standard_normal(boxes.shape) * [1, 1, 1, 0, 0, 0, 0.5]))
    return made


def path_of(frames, **settings):
    detector = Detector(BoxNoise([[math.log(SIGMA)]] * 6 + [[math.log(SIGMA / 2)]], along=False))
    return estimate_path([(objects(frames), detector)], EgoEstimator(**settings))


def steps_of(poses):
    turn = poses[1:, 3] - poses[:-1, 3]
    away, at = poses[1:, :2] - poses[:-1, :2], poses[:-1, 3] + turn / 2
    return torch.stack(
        [at.cos() * away[:, 0] + at.sin() * away[:, 1], at.cos() * away[:, 1] - at.sin() * away[:, 0], turn], -1
    )


def test_an_arc_past_standing_bodies_is_told_within_its_covariance():
    errors, squares = [], []
    for seed in range(3):
        path = path_of(seen(seed=seed))
        place, heading = way(60)
        truth = torch.from_numpy(np.column_stack([place, np.zeros(60), heading]))
        away = (steps_of(path.poses) - steps_of(truth))[10:]
        errors.append(away)
        squares.append((away * torch.linalg.solve(path.spread[11:], away[..., None])[..., 0]).sum(-1) / 3)
    rms = torch.cat(errors).square().mean(0).sqrt()
    assert rms[0] < 0.05 and rms[1] < 0.03 and rms[2] < 0.003  # of 0.8 m, 0 and 0.02 rad a step
    assert 0.3 < torch.cat(squares).mean() < 2.0


def test_bodies_that_move_are_outvoted():
    few, many = (path_of(seen(standing=8, driving=n, seed=3)) for n in (0, 6))
    assert (steps_of(few.poses) - steps_of(many.poses))[10:].abs().mean(0).max() < 0.03
    assert float(many.support[20:].mean()) == pytest.approx(8.0, abs=1.0)


def test_without_bodies_the_motion_goes_on_and_its_doubt_grows_to_that_of_nothing_known():
    frames = seen(frames=30) + [torch.zeros(0, 7).double()] * 300
    path = path_of(frames)
    spread = torch.diagonal(path.spread, dim1=1, dim2=2).sqrt() / STEP
    assert float(steps_of(path.poses)[35, 0]) == pytest.approx(0.8, abs=0.06)
    assert bool((spread[31:].diff(dim=0) >= -1e-12).all())
    assert float(path.support[40]) == 0.0
    estimator, nothing = EgoEstimator(), Looks(*(np.zeros((0, *shape)) for shape in ((3,), (3, 3), (), (), ())))
    _, motion = estimator.step(estimator.init_state(), 3600.0, nothing)
    np.testing.assert_allclose(np.sqrt(np.diag(motion.covariance)), estimator.spread, rtol=1e-6)


def test_it_looks_at_nothing_that_comes_later():
    frames = seen(frames=30)
    whole, part = path_of(frames), path_of(frames[:20])
    torch.testing.assert_close(whole.poses[:20], part.poses, rtol=0, atol=0)


def test_the_derivative_of_a_step_is_that_of_its_numbers():
    own, bodies = np.array([5.0, 0.4, 0.5]), np.array([[10.0, 4.0, 0.3], [-3.0, 2.0, 1.0]])
    moved, matrix = _past(own, bodies, 0.1)
    flat = np.concatenate([own, bodies.ravel()])
    for k in range(len(flat)):
        more = flat.copy()
        more[k] += 1e-6
        other = _past(more[:3], more[3:].reshape(-1, 3), 0.1)[0]
        np.testing.assert_allclose(((other - moved) / 1e-6).ravel(), matrix[3:, k], atol=1e-5)


def test_covariances_stay_positive_definite_and_old_bodies_are_forgotten():
    estimator, random = EgoEstimator(), np.random.default_rng(0)
    state: EgoState = estimator.init_state()
    for f in range(30):
        count = int(random.integers(0, 12))
        looks = Looks(
            random.uniform(-30, 30, (count, 3)), np.tile(0.01 * np.eye(3), (count, 1, 1)), np.full(count, 6.0),
            np.zeros(count), np.zeros(count, np.int64),
        )  # fmt: skip
        state, motion = estimator.step(state, None if f == 0 else float(random.choice([1e-4, 0.1, 3600.0])), looks)
        assert np.isfinite(state.mean).all() and np.linalg.eigvalsh(state.covariance).min() > 0
        assert np.linalg.eigvalsh(motion.covariance).min() > 0
    assert state.silent.max(initial=0.0) <= estimator.memory


def test_a_shift_is_that_of_most_and_pairs_are_each_others_nearest():
    place = np.array([[0.0, 0, 0], [10, 5, 0], [20, -5, 0]])
    there = np.vstack([place + np.array([2.5, 0.1, 0]), [[30.0, 0, 0]]])
    looks = Looks(there, np.zeros((4, 3, 3)), np.ones(4), np.zeros(4), np.zeros(4, np.int64))
    shift = shift_of_most(place, np.zeros(3, np.int64), looks, np.array([1.0, 0.2]), 0.3)
    np.testing.assert_allclose(shift, [2.5, 0.1])
    assert [row.tolist() for row in pairs(np.array([[0.1, 3.0], [0.2, 9.0]]))] == [[0], [0]]
    assert [len(row) for row in pairs(np.zeros((0, 2)))] == [0, 0]
    assert turned(np.array([3.1]))[0] == pytest.approx(3.1 - math.pi)


def test_a_doubted_step_is_added_to_what_is_seen():
    frames = seen(frames=5)
    path, own, found = path_of(frames), tracker().detector, objects(frames)
    plain, made = own(found)[0], MovingDetector(own, [path])(found)[0]
    row = int(found.splits[4]) + 1
    lever = torch.zeros(7, 3).double()
    lever[0, 0] = lever[1, 1] = lever[6, 2] = 1
    lever[0, 2], lever[1, 2] = -plain.boxes[row, 1], plain.boxes[row, 0]
    torch.testing.assert_close(made.covariance[row] - plain.covariance[row], lever @ path.spread[4] @ lever.T)
    some = MovingDetector(own, [path])(found.between(3, 5))[0]
    assert torch.equal(some.covariance, made.covariance[int(found.splits[3]) :])


def test_steps_of_other_frames_are_refused():
    frames = seen(frames=5)
    path, own, found = path_of(frames), tracker().detector, objects(frames)
    with pytest.raises(ValueError, match="stamps are among"):
        MovingDetector(own, [path.first(3)])(found)
    with pytest.raises(ValueError, match="steps"):
        MovingDetector(own, [path, path])(found)
    with pytest.raises(ValueError, match="no path"):
        MovingDetector(own, [])


def test_doubted_ways_one_by_one_at_once_and_late_are_the_same():
    made = [seen(frames=count, seed=seed) for seed, count in enumerate((12, 9, 1))]
    sequences, paths = [objects(one) for one in made], [path_of(one) for one in made]
    plain = tracker()
    alone = [path.doubted(plain).run(one, path.poses) for one, path in zip(sequences, paths, strict=True)]
    poses = [path.poses for path in paths]
    for one, other in zip(doubted(plain, paths).run_many(sequences, poses), alone, strict=True):
        assert torch.equal(one.tracks.identity, other.tracks.identity)
        torch.testing.assert_close(one.tracks.mean, other.tracks.mean, rtol=0, atol=1e-9)
        torch.testing.assert_close(one.tracks.covariance, other.tracks.covariance, rtol=0, atol=1e-9)
    late = LateFrames(own := paths[0].doubted(plain), 10**9)
    for f in (0, 2, 1, 3, 6, 5, 4, 7, 8, 9, 11, 10):  # frame by frame, as they come
        one = sequences[0].between(f, f + 1)
        late.push(int(one.stamps), own.detector(one)[0], paths[0].poses[f])
    last = alone[0].frames[-1].tracks
    assert torch.equal(late.state.tracks.identity, last.identity)
    torch.testing.assert_close(late.state.tracks.mean, last.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(late.state.tracks.covariance, last.covariance, rtol=0, atol=1e-9)
    assert (plain.run(sequences[0], poses[0]).tracks.covariance - alone[0].tracks.covariance).abs().max() > 1e-4


@pytest.mark.parametrize(("settings", "said"), [({"memory": 0.0}, "memory"), ({"spread": (0.0, 1.0, 1.0)}, "spread")])
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        EgoEstimator(**settings)


def test_looks_that_cannot_be_are_refused():
    estimator = EgoEstimator()
    looks = Looks(np.full((1, 3), np.nan), np.eye(3)[None], np.ones(1), np.zeros(1), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="not finite"):
        estimator.step(estimator.init_state(), None, looks)
    for elapsed in (0.0, math.inf):
        with pytest.raises(ValueError, match="elapsed"):
            estimator.step(estimator.init_state(), elapsed, looks._replace(place=np.zeros((1, 3))))
    with pytest.raises(ValueError, match="same frames"):
        estimate_path([])
