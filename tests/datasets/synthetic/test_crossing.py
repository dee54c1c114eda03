"""Crossing worlds: motion, noise, misses, clutter, scores and hiding are as they are said to be."""

import math

import pytest
import torch

from mambats_datasets.synthetic.crossing import Arcs, CrossingWorlds, StatedDetector, Straight, shown
from mambats_datasets.synthetic.crossing.law import Start
from mambats_datasets.synthetic.crossing.stated import SPREAD
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.world import Layout, StreetWorlds
from mambats_datasets.synthetic.world.detections import FALSE
from mambats_datasets.synthetic.world.kinds import CAR
from mambats_datasets.synthetic.world.objects import CLASSES, detected_objects, true_objects

CLEAR = 0.999  # visible share of what nothing hides


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def crossings():
    return CrossingWorlds(jitter=0.3, view=1.5).batch(60, generator())


def truth_of(made):
    """Rows of detections that are true: where each stems from, and its number."""
    found = made.detections
    real = found.present & (found.identity != FALSE)
    index = found.identity.clamp_min(0)
    box = made.targets.box.gather(2, index[..., None].expand(*index.shape, 7))
    kind = made.targets.kind[:, None].expand_as(made.targets.alive).gather(2, index)
    return real, box, kind


def test_noise_has_the_covariance_that_is_said_by_class_and_range(crossings):
    real, box, kind = truth_of(crossings)
    error = crossings.detections.box - box
    error[..., 6] = torch.atan2(error[..., 6].sin(), error[..., 6].cos())
    far = box[..., :3].norm(dim=-1)
    for label, spread in enumerate(SPREAD):
        for low, high in ((0, 25), (25, 60)):
            rows = real & (kind == CAR + label) & (far >= low) & (far < high)
            said = torch.tensor(spread, dtype=torch.float64) * (1 + far[rows] / 60)[:, None]
            white = error[rows] / said
            assert len(white) > 300
            assert (white.mean(0).abs() < 4.5 / math.sqrt(len(white))).all()
            assert ((white.square().mean(0) - 1).abs() < 6.5 / math.sqrt(len(white))).all()
            torch.testing.assert_close(said, crossings.detections.deviation[rows])
    white = (error / crossings.detections.deviation.clamp_min(1e-9))[real]
    assert (torch.corrcoef(white.T) - torch.eye(7)).abs().max() < 0.05


def test_misses_and_clutter_come_at_their_rates(crossings):
    found, targets = crossings.detections, crossings.targets
    objects = torch.arange(targets.alive.shape[2])
    seen = ((found.identity[..., None] == objects) & found.present[..., None]).any(2)
    chance = 0.97 * StatedDetector().chance(targets)
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 0.95), (0.95, 1.0)):
        rows = targets.alive & (chance > low) & (chance <= high)
        miss = (seen.double() - chance)[rows].mean()
        assert abs(miss) < 4 * 0.5 / math.sqrt(int(rows.sum()))
    false = (found.present & (found.identity == FALSE)).sum(-1).double()
    assert abs(false.mean() - 1.5) < 4 * math.sqrt(1.5 / false.numel())
    assert abs(false.var() / 1.5 - 1) < 0.1


def test_a_score_tells_the_chance_to_be_true(crossings):
    found, detector = crossings.detections, StatedDetector()
    real = (found.identity != FALSE)[found.present]
    said = detector.probability(found.score[found.present], crossings.odds)
    for part in range(10):
        rows = (said >= part / 10) & (said < (part + 1) / 10)
        share = real[rows].double()
        assert len(share) > 50
        assert abs(share.mean() - said[rows].mean()) < 4.5 * math.sqrt(0.25 / len(share))
    naive = torch.sigmoid(found.score[found.present])
    assert (naive - real.double()).square().mean() > (said - real.double()).square().mean() + 0.01


def test_nearer_bodies_hide_farther_ones():
    def row(x, y, yaw=0.0):
        return [x, y, 0.0, 4.0, 2.0, 1.5, yaw]

    box = torch.tensor([[row(10, 0, math.pi / 2), row(30, 0), row(30, 20), row(20, -1.6), row(-30, 0)]]).double()[None]
    alive = torch.ones(1, 1, 5, dtype=torch.bool)
    visible = shown(box, alive)[0, 0]
    assert visible.tolist()[:3] == [1.0, 0.0, 1.0] and visible[4] == 1
    assert 0 < shown(torch.tensor([[row(10, 0), row(20, -2.0)]]).double()[None], alive[..., :2])[0, 0, 1] < 1
    gone = alive.clone()
    gone[..., 0] = False
    assert shown(box, gone)[0, 0, 0] == 0 and shown(box, gone)[0, 0, 1] > 0.8, "what is not there hides nothing"
    behind = torch.tensor([[row(-10, 0, math.pi / 2), row(-30, 0.1)]]).double()[None]
    assert shown(behind, alive[..., :2])[0, 0].tolist() == [1.0, 0.0], "across the bearing of pi"


def test_hidden_bodies_keep_their_identity_and_come_back(crossings):
    targets, found = crossings.targets, crossings.detections
    objects = torch.arange(targets.alive.shape[2])
    seen = ((found.identity[..., None] == objects) & found.present[..., None]).any(2)
    hidden = targets.alive & (targets.visible < 0.1)
    assert hidden.sum() > 100 and not seen[hidden].any()
    before, after = seen.cumsum(1) > 0, seen.flip(1).cumsum(1).flip(1) > 0
    assert (hidden & before & after).any(1).sum() > 10, "some vanish behind others and are seen again"
    truth, _ = crossings.objects(0)
    alive = targets.alive[0]
    assert truth.identity.tolist() == objects.expand_as(alive)[alive].tolist()
    step = targets.box[:, 1:, :, :2] - targets.box[:, :-1, :, :2]
    assert step[targets.alive[:, 1:] & targets.alive[:, :-1]].norm(dim=-1).max() < 4, "no identity jumps"


def test_straight_motion_has_the_covariance_of_its_law():
    batch, times = 4000, torch.tensor([0.0, 0.1, 0.4, 0.5], dtype=torch.float64).expand(4000, 4)
    zero = torch.zeros(batch, 1, dtype=torch.float64)
    start = Start(torch.full((batch, 1), CAR), torch.ones(batch, 1).long(), zero[..., None].repeat(1, 1, 2), zero, zero)
    state = Straight(density=(2.0, 0.0, 0.0)).draw(start, times, generator())
    assert (state.place[:, 1] == 0).all() and (state.velocity[:, 1] == 0).all()
    dt = 0.3
    joint = torch.stack([state.place[:, 2, 0, 0], state.velocity[:, 2, 0, 0]])
    said = 2.0 * torch.tensor([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    torch.testing.assert_close(torch.cov(joint), said.double(), rtol=0.1, atol=0)
    fresh = state.place[:, 3] - state.place[:, 2] - 0.1 * state.velocity[:, 2]
    assert abs(float(torch.corrcoef(torch.stack([fresh[:, 0, 0], joint[1]]))[0, 1])) < 0.06, "white"
    still = Straight(density=(0.0, 0.0, 0.0), turn=0.0).draw(start._replace(speed=zero + 3), times, generator())
    torch.testing.assert_close(still.place[:, 3, 0, 0], 0.4 * 3 * torch.ones(batch, dtype=torch.float64))


def test_arcs_turn_at_a_constant_rate():
    worlds = CrossingWorlds(motion=Arcs(), objects=4, duration=3.0)
    made = worlds.batch(3, generator())
    velocity = made.targets.velocity[..., :2]
    torch.testing.assert_close(velocity.norm(dim=-1).std(1), torch.zeros(3, 4, dtype=torch.float64))
    turn = torch.atan2(velocity[..., 1], velocity[..., 0]) - made.targets.box[..., 6]
    assert (torch.sin(turn).abs() < 1e-9).all()


def test_same_seed_same_world():
    worlds = CrossingWorlds(duration=2.0)
    one, two, other = (worlds.batch(5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.detections.box, two.detections.box) and torch.equal(one.targets.box, two.targets.box)
    assert not torch.equal(one.targets.box, other.targets.box)


def test_scenes_become_objects(crossings):
    truth, found = crossings.objects(7)
    assert truth.classes == found.classes == CLASSES == ("car", "pedestrian", "cyclist")
    assert len(truth) == len(found) == 100 and truth.velocity.shape == (len(truth.boxes), 3)
    steps = truth.stamps.diff().double() / 1e9
    assert 0.069 < steps.min() < 0.09 and 0.11 < steps.max() < 0.131
    assert found.score.shape == (len(found.boxes),) and found.identity is None
    assert (torch.linalg.eigvalsh(found.covariance) > 0).all()
    assert set(truth.occluded.tolist()) <= {0, 1, 2}
    frame = int(truth.frames[0])
    assert torch.equal(
        truth.between(frame, frame + 1).boxes, crossings.targets.box[7, frame][crossings.targets.alive[7, frame]]
    )


def test_street_worlds_become_the_same_objects():
    street = StreetWorlds(SimulatedRobots("car", series=1, duration=1.0), Layout(8, 4), sensors=("detections",))
    drives = street.batch(2, generator())
    stamps = (drives.ticks["detections"].stamp[1] * 1e9).round().long()
    truth, found = true_objects(stamps, drives.targets, 1), detected_objects(stamps, drives.detections, 1)
    assert len(truth.boxes) == int(drives.targets.alive[1].sum())
    assert len(found.boxes) == int(drives.detections.present[1].sum())
    assert (found.score >= 0).all() and (found.score <= 1).all()


def test_an_empty_world_and_wrong_numbers():
    made = CrossingWorlds(objects=0, duration=0.5).batch(2, generator())
    truth, found = made.objects(0)
    assert len(truth.boxes) == 0 and len(found) == 5
    quiet = CrossingWorlds(objects=3, duration=0.5, detector=StatedDetector(clutter=0.0)).batch(2, generator())
    assert quiet.odds == math.inf and not (quiet.detections.present & (quiet.detections.identity == FALSE)).any()
    assert StatedDetector().probability(torch.tensor(-5.0), math.inf) == 1
    with pytest.raises(ValueError, match=r"jitter 1\.0"):
        CrossingWorlds(jitter=1.0)
    with pytest.raises(ValueError, match="view"):
        CrossingWorlds(view=0.0)
    with pytest.raises(ValueError, match="density"):
        Straight(density=(-1.0, 0.0, 0.0))


@pytest.mark.gpu
def test_a_thousand_scenes_on_a_gpu():
    made = CrossingWorlds().batch(1000, torch.Generator("cuda").manual_seed(0))
    assert made.detections.box.is_cuda and len(made.times) == 1000
    assert 4 < made.targets.alive.sum(-1).double().mean() < 9
