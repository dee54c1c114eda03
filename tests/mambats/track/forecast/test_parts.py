"""Courses, the sensor's own motion, loss and scores, each held to closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mambats.calibration import gaussian_nll
from mambats.gaussian import Gaussian
from mambats.track.forecast import (
    Course,
    Forecast,
    LabelFilter,
    OwnMotion,
    baselines,
    batch_of,
    forecast_loss,
    forecast_scores,
    joined,
    log_density,
    min_ade,
    min_fde,
    own_motion,
    region_level,
    with_own_motion,
)
from mambats.track.forecast.baselines import FILTER, TURNING
from mambats.track.forecast.course import spread_after, straight
from tests.mambats.track.forecast.scenes import CLASSES, HORIZONS, forecaster, labels, paths, scene


def a_batch(**more):
    made = scene(**more)
    return batch_of([made], [made.future(HORIZONS)])


# At -0.3 rad/s the filter, to which turns are slow to change, is off by 0.024 rad/s and 0.33 m/s.
@pytest.mark.parametrize(("turn", "spin", "speed"), [(-0.3, 0.03, 0.4), (0.0, 0.02, 0.2), (0.2, 0.02, 0.2)])
def test_the_sensors_motion_is_told_from_bodies_that_stand(turn, spin, speed):
    own = OwnMotion.of(own_motion(scene(turn=turn), CLASSES))
    assert_close(own.turn[10:], torch.full_like(own.turn[10:], turn), atol=spin, rtol=0)
    assert_close(own.velocity[10:, 0], torch.full_like(own.turn[10:], 6.0), atol=speed, rtol=0)
    assert (own.trust[10:] > 2.5).all()


def test_the_sensors_motion_without_tracks_is_rest():
    made = scene()
    told = own_motion(replace(made, seen=torch.zeros_like(made.seen)), CLASSES)
    assert told.shape == (40, 4) and not bool(told.any())
    assert own_motion(made.between(0, 0), CLASSES).shape == (0, 4)


def test_the_sensors_motion_is_that_of_the_frames_before():
    made = scene(turn=0.1)
    cut = replace(made.between(0, 20), own=None)
    assert_close(own_motion(cut, CLASSES), own_motion(made, CLASSES)[:20], rtol=0, atol=0)
    assert with_own_motion(made, CLASSES) is made and cut.own is None
    with pytest.raises(ValueError, match="nobody told"):
        batch_of([cut], [cut.future(HORIZONS)])


@pytest.mark.parametrize("turn", [-0.3, 0.2])
def test_a_course_that_knows_all_is_exact(turn):
    place, flow, _, speed = paths(turn=turn)
    zero = torch.zeros(place.shape[:2]).double()
    own = torch.tensor([speed, 0.0]).double().expand_as(place)
    made = Course(place, flow, own, zero + turn, zero, zero, zero).after(torch.tensor([0.5, 1.0]).double())
    truth = scene(turn=turn).future(HORIZONS)
    known = truth.isfinite().all(-1).all(-1)
    assert known[:, :30].all()
    assert_close(made[known], truth[known], atol=1e-9, rtol=0)


def test_a_course_without_turns_is_constant_velocity_and_bends_as_asked():
    place, velocity, own = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)).double()
    zero, time = torch.zeros(5).double(), torch.tensor([0.7, 2.0]).double()
    still = Course(place, velocity, own, zero, zero, zero, zero).after(time)
    assert_close(still, place[:, None] + time[:, None] * velocity[:, None])
    round_ = Course(place, velocity, 0 * own, zero, zero + math.pi, zero, zero).after(torch.tensor([2.0]).double())
    assert_close(round_[:, 0], place)  # a whole turn in two seconds


def test_spread_is_the_filters():
    from mambats.track import ConstantVelocity

    motion = ConstantVelocity([3.0, 3.0, 1.0], [0.1] * 4).double()
    root = torch.randn(10, 10, generator=torch.Generator().manual_seed(1)).double()
    covariance, time = root @ root.T, torch.tensor([1.3]).double()
    matrix, noise = motion.jacobian(torch.zeros(1, 10).double(), time)[0], motion.noise(time)[0]
    wanted = (matrix @ covariance @ matrix.T + noise)[:2, :2]
    ground = torch.tensor([0, 1, 7, 8])
    made = spread_after(covariance[ground][:, ground], time, torch.tensor(3.0).double())
    assert_close(made[0], wanted.detach())


def test_densities_and_regions_are_those_of_gaussians():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(20, 1, 2, 2, 2, generator=g).double()
    said = Forecast(torch.randn(20, 1, 2, 2, generator=g).double(),
                    root @ root.mT + 0.1 * torch.eye(2).double(), torch.zeros(20, 1).double())  # fmt: skip
    truth = torch.randn(20, 2, 2, generator=g).double()
    wanted = gaussian_nll(Gaussian(said.mean[:, 0], said.covariance[:, 0]), truth)
    assert_close(-log_density(said, truth), wanted)
    twice = Forecast(*(part.repeat_interleave(2, 1) for part in said))
    assert_close(log_density(twice, truth), log_density(said, truth))
    assert (region_level(twice, truth, draws=1000) - region_level(said, truth)).abs().max() < 0.06


def test_regions_of_a_mixture_hold_what_they_say():
    g = torch.Generator().manual_seed(0)
    count = 2000
    mean = torch.tensor([[0.0, 0.0], [6.0, 0.0]]).expand(count, 2, 2)[:, :, None]
    said = Forecast(mean, torch.eye(2).expand(count, 2, 1, 2, 2), torch.tensor([0.0, 1.0]).expand(count, 2))
    second = torch.rand(count, 1, 1, generator=g) < torch.tensor([0.0, 1.0]).softmax(0)[1]
    truth = torch.where(second, mean[:, 1], mean[:, 0]) + torch.randn(count, 1, 2, generator=g)
    level = region_level(said, truth)
    for one in (0.5, 0.9):
        assert abs(float((level <= one).double().mean()) - one) < 0.035


def test_best_of_modes_counts_the_nearest():
    mean = torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [5.0, 0.0]]])[None]
    said = Forecast(mean, torch.eye(2).expand(1, 2, 2, 2, 2), torch.zeros(1, 2))
    truth = torch.tensor([[[1.0, 0.0], [4.0, 1.0]]])
    assert_close(min_fde(said, truth), torch.tensor([2**0.5]))
    assert_close(min_ade(said, truth), torch.tensor([2**0.5 / 2]))
    scores = forecast_scores(said, truth, torch.tensor([[True, False]]))
    assert scores[0]["fde"] == 0.5 and math.isnan(scores[1]["fde"]) and math.isnan(scores[1]["min_ade_2"])


def test_the_loss_has_gradients_and_is_zero_where_nothing_is_asked():
    batch = a_batch()
    model = forecaster(3)
    loss = forecast_loss(model(batch), batch.truth, batch.asked, model.time, 1.0)
    loss.backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.head.parameters())
    nothing = forecast_loss(model(batch), batch.truth, batch.asked & False, model.time, 1.0)
    assert float(nothing) == 0


def test_labels_become_states_that_follow_them():
    made = LabelFilter()("a", labels(turn=0.1), CLASSES)
    truth = scene(turn=0.1, frames=30)
    assert made.seen.all() and made.mean.shape == (6, 30, 10)
    assert_close(made.mean[:, 10:, :2], truth.mean[:, 10:, :2], atol=0.05, rtol=0)
    assert_close(made.mean[:, 10:, 7:9], truth.mean[:, 10:, 7:9], atol=0.4, rtol=0)
    assert (torch.linalg.eigvalsh(made.covariance) > 0).all()


def test_a_body_that_comes_back_is_a_new_track():
    known = labels()
    gone = (known.identity == 2) & (known.frames >= 10) & (known.frames < 20)
    made = LabelFilter()("a", known.take(~gone), CLASSES)
    assert len(made.labels) == 7 and sorted(made.seen.sum(1).tolist()) == [10, 10, 30, 30, 30, 30, 30]
    assert made.age.amax(1).max() < 3.0


def test_labels_without_identity_or_of_no_class_are_told():
    known = labels()
    with pytest.raises(ValueError, match="no identities"):
        LabelFilter()("a", replace(known, identity=None), CLASSES)
    empty = LabelFilter()("a", known.take(torch.zeros(len(known.boxes), dtype=torch.bool)), CLASSES)
    assert empty.seen.shape == (0, 30) and empty.future(HORIZONS).shape == (0, 30, 2, 2)


def test_the_future_is_interpolated_and_unknown_behind_the_end():
    made = scene(frames=20)
    future = made.future((0.25,))
    middle = (made.paths[:, 2] + made.paths[:, 3]) / 2
    assert_close(future[:, 0, 0], middle)
    assert future[:, -3:].isnan().all() and future[:, :-3].isfinite().all()


def test_scenes_of_several_classes_are_joined():
    one, two = scene(), scene(seed=1)
    both = joined([one, two])
    assert both.seen.shape == (12, 40)
    assert_close(both.future(HORIZONS)[6:], two.future(HORIZONS), equal_nan=True)
    with pytest.raises(ValueError, match="same frames"):
        joined([one, scene(frames=30)])


def test_baselines_stand_where_they_should():
    batch = a_batch(turn=0.2)
    model = forecaster()
    said = baselines(model, batch)
    wanted = straight(batch.mean, batch.covariance, model.time, batch.mean.new_full(batch.seen.shape, 8.0))
    assert_close(said[FILTER].mean[..., 0, :, :], wanted.mean)
    rows = batch.asked.all(-1)
    errors = {name: (one.best - batch.truth)[rows].norm(dim=-1)[:, -1].mean() for name, one in said.items()}
    assert errors[TURNING] < 0.15 * errors[FILTER]
