"""The detector: noise, misses, false boxes and scores as they are said to be."""

import math

import pytest
import torch

from mambats_datasets.synthetic.trajectory import random_trajectory, uniform_times
from mambats_datasets.synthetic.world import Detector, Layout
from mambats_datasets.synthetic.world.detections import FALSE, FLIP
from mambats_datasets.synthetic.world.pose import sensor_pose

ZERO = torch.zeros(1, 1, dtype=torch.float64)


@pytest.fixture(scope="module")
def crowded():
    generator = torch.Generator().manual_seed(0)
    ego = random_trajectory("car", 6, 10.0, generator)
    scene = Layout(objects=30, structures=30).draw(generator, ego)
    detector = Detector()
    targets = detector.targets(scene, ego, uniform_times(6, 10.0, 5.0))
    return scene, ego, detector, targets, detector.detect(targets, generator)


def matched(targets, found):
    """Truth (n, 7) and detected boxes of all that was detected, their deviations and scores."""
    true = found.present & (found.identity != FALSE)
    index = found.identity.clamp_min(0)
    box = targets.box.gather(2, index[..., None].expand(-1, -1, -1, 7))
    return box[true], found.box[true], found.deviation[true], found.score[true]


def test_targets_are_the_boxes_seen_from_the_sensor(crowded):
    scene, ego, detector, targets, _ = crowded
    t = uniform_times(6, 10.0, 5.0)
    pose, boxes = sensor_pose(ego(t), detector.mount), scene.moving(t)
    torch.testing.assert_close(pose.out(targets.box[..., :3]), boxes.centre)
    torch.testing.assert_close(targets.velocity @ pose.rotation.mT, scene.velocity(t))
    ahead = pose.rotation[..., :2, 0]
    heading = torch.atan2(ahead[..., 1], ahead[..., 0])[..., None] + targets.box[..., 6]
    assert (torch.sin((heading - boxes.yaw) / 2).abs() < 1e-9).all()
    assert (targets.box[..., :3].norm(dim=-1)[targets.alive] <= detector.reach).all()
    assert targets.alive.any(1).logical_and(~targets.alive.all(1)).any(), "some are born or die or leave"
    assert (targets.visible[~boxes.alive] == 0).all()


def test_noise_has_the_deviation_that_is_said(crowded):
    _, _, _, targets, found = crowded
    truth, box, deviation, _ = matched(targets, found)
    error = (box - truth) / deviation
    turn = (box - truth)[:, 6]
    flipped = turn.cos() < 0
    assert abs(flipped.double().mean() - FLIP) < 0.012
    error[:, 6] = torch.atan2(turn.sin(), turn.cos()) / deviation[:, 6]
    near = ~flipped[:, None] & (truth[:, 3:6].min(-1).values > 0.5)[:, None]
    z = error[near.expand_as(error)].view(-1, 7)
    assert len(z) > 500
    assert (z.mean(0).abs() < 4 / math.sqrt(len(z))).all()
    assert ((z.square().mean(0) - 1).abs() < 6 / math.sqrt(len(z))).all()


def test_far_and_hidden_objects_are_missed_and_scores_fall_with_range(crowded):
    _, _, _, targets, found = crowded
    objects = torch.arange(targets.alive.shape[2])
    seen = ((found.identity[..., None] == objects) & found.present[..., None]).any(2)
    far = targets.box[..., :3].norm(dim=-1)
    plain = targets.alive & (targets.visible > 0.6)
    assert 0.94 < seen[plain & (far < 35)].double().mean() < 0.995
    assert seen[plain & (far > 54)].double().mean() < 0.3
    hidden = targets.alive & (targets.visible < 0.1)
    assert hidden.sum() > 50
    assert not seen[hidden].any()
    assert not seen[~targets.alive].any()
    truth, _, _, score = matched(targets, found)
    assert torch.corrcoef(torch.stack([truth[:, :3].norm(dim=-1), score]))[0, 1] < -0.3
    false = found.present & (found.identity == FALSE)
    assert found.score[false].mean() < score.mean() - 0.3
    assert found.score[false].max() > score.min(), "no threshold parts them"


def test_false_boxes_are_poisson(crowded):
    _, _, detector, _, found = crowded
    count = (found.present & (found.identity == FALSE)).sum(-1).double()
    assert abs(count.mean() - detector.clutter) < 4 * math.sqrt(detector.clutter / count.numel())
    assert 0.7 < count.var() / detector.clutter < 1.3
    place = found.box[found.present & (found.identity == FALSE)]
    assert (place[:, :2].norm(dim=-1) <= detector.reach).all()


def test_order_says_nothing_of_identity(crowded):
    found = crowded[4]
    score = found.score.masked_fill(~found.present, -1)
    assert (score.diff() <= 0).all()
    assert (found.box[~found.present] == 0).all()
    assert (found.box[..., 3:6][found.present] > 0).all()
    assert (found.box[..., 6].abs() <= math.pi).all()


def test_a_wall_hides_a_car(scene_of, line):
    car, wall = (15.0, 0.0, 0.3, 0.0, 4.0, 1.6, 1.5), (8, 0, 2, 0.5, 20, 4, 0)
    away = (80, 80, 1, 1, 1, 1, 0)
    visible = [
        Detector().targets(scene_of([structure], [car]), line(), ZERO).visible.item() for structure in (away, wall)
    ]
    assert visible == [1.0, 0.0]
    half = (8, 3.15, 2, 0.5, 6, 4, 0)
    assert 0.2 < Detector().targets(scene_of([half], [car]), line(), ZERO).visible.item() < 0.8


def test_an_ideal_detector_says_the_truth(scene_of, line):
    car = (15.0, 3.0, 0.3, 5.0, 4.0, 1.6, 1.5)
    scene, ideal = scene_of([(80, 80, 1, 1, 1, 1, 0)], [car]), Detector(noise=0.0, hit=1.0, clutter=0.0)
    targets = ideal.targets(scene, line(), uniform_times(1, 1.0, 10.0))
    found = ideal.detect(targets, torch.Generator().manual_seed(0))
    assert found.present.all()
    torch.testing.assert_close(found.box[..., :6], targets.box[..., :6])
    torch.testing.assert_close(targets.box[0, :, 0, 0], 15 + 5 * uniform_times(1, 1.0, 10.0)[0] * math.cos(0.3))


def test_no_objects_at_all(scene_of, line):
    detector = Detector()
    targets = detector.targets(scene_of([(80, 80, 1, 1, 1, 1, 0)]), line(), ZERO)
    found = detector.detect(targets, torch.Generator().manual_seed(0))
    assert targets.box.shape == (1, 1, 0, 7)
    assert (found.identity == FALSE).all()


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match=r"hit 1\.5"):
        Detector(hit=1.5)
