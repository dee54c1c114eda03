"""Decisions from a tracker's state, in worlds whose bodies are known."""

import math

import pytest
import torch
from torch.testing import assert_close

from mambats.decisions import (
    Bodies,
    Boxes,
    Cells,
    Occupancy,
    collisions_with,
    corridor_past,
    grid_from_tracks,
    time_to_collision,
)
from mambats.track import (
    BoxNoise,
    ByExistence,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Predictor,
    ScoreCalibration,
    SinglePass,
    Tracker,
    Tracks,
    Updater,
    tell,
)
from mambats_datasets.synthetic.crossing import CrossingWorlds
from tests.mambats.track.worlds import SIGMA, objects, tracker

ROBOT = (4.0, 2.0)


def approaching(speed=5.0, side=0.0, frames=20):
    """Tracks of one body that comes towards the robot, 30 m away at the first frame, and where it is."""
    g = torch.Generator().manual_seed(0)
    boxes = torch.zeros(frames, 1, 7).double()
    boxes[..., 0] = 30 - speed * 0.1 * torch.arange(frames)[:, None]
    boxes[..., 1], boxes[..., 3:6] = side, torch.tensor([4.0, 2.0, 1.5]).double()
    seen = objects(list(boxes + SIGMA * torch.randn(boxes.shape, generator=g).double()))
    history = tracker().run(seen)
    return history.frames[-1].tracks, float(boxes[-1, 0, 0]), tell(history, seen)


def test_time_to_collision_of_a_track_is_that_of_its_body():
    tracks, where, _ = approaching()
    met = collisions_with(tracks, ROBOT, horizon=8.0)
    assert met.time.shape == met.probability.shape == (1,)
    assert abs(float(met.time) - (where - 4.0) / 5) < 0.3
    assert float(met.probability) > 0.9
    assert float(collisions_with(tracks, ROBOT, horizon=1.0).probability) < 0.1


def test_a_body_beside_the_road_is_not_met_and_one_that_hardly_exists_not_feared():
    tracks, _, _ = approaching(side=8.0)
    assert float(collisions_with(tracks, ROBOT, 5.0).probability) < 0.05
    ahead, _, _ = approaching()
    doubted = ahead._replace(existence=torch.full_like(ahead.existence, -4.0))
    sure = ahead._replace(existence=torch.full_like(ahead.existence, 4.0))
    ratio = collisions_with(doubted, ROBOT, 8.0).probability / collisions_with(sure, ROBOT, 8.0).probability
    assert_close(ratio, torch.sigmoid(torch.tensor([-4.0])).double() / torch.sigmoid(torch.tensor([4.0])).double())


def test_it_is_time_to_collision_of_the_state():
    tracks, _, _ = approaching()
    rows = torch.tensor([0, 1, 7, 8])
    from mambats.gaussian import Gaussian

    relative = Gaussian(tracks.mean[:, rows], tracks.covariance[:, rows][:, :, rows])
    boxes = Boxes(torch.tensor([ROBOT]).double(), tracks.mean[:, 3:5], tracks.mean[:, 6])
    wanted = time_to_collision(relative, boxes, 6.0)
    made = collisions_with(tracks, ROBOT, 6.0)
    assert_close(made.time, wanted.time)
    assert_close(made.probability, wanted.probability * tracks.existence.sigmoid())


def test_boxes_that_were_told_of_do_as_well_and_own_speed_counts():
    tracks, where, told = approaching()
    bodies = Bodies.of_boxes(told, -1, speed=0.3)
    assert abs(float(collisions_with(bodies, ROBOT, 8.0).time) - (where - 4.0) / 5) < 0.3
    driving = Bodies.of_tracks(tracks, own=torch.tensor([5.0, 0.0]))
    assert abs(float(collisions_with(driving, ROBOT, 8.0).time) - (where - 4.0) / 10) < 0.2


def test_the_grid_is_taken_where_bodies_are_and_later_where_they_go():
    tracks, where, _ = approaching()
    cells = Cells((-5.0, 35.0), (-6.0, 6.0), 0.5)
    free = Occupancy(torch.full((1, *cells.shape), -2.0).double())
    now, later = grid_from_tracks(tracks, cells, free), grid_from_tracks(tracks, cells, free, ahead=2.0)
    for grid, place in ((now, where), (later, where - 10)):
        row, column = int((place + 5) / 0.5), int(6 / 0.5)
        assert float(grid.probability[0, row, column]) > 0.9
        assert float(grid.probability[0, row, 0]) < 0.2
    assert bool(grid_from_tracks(tracks, cells).unknown()[0, 0, 0])


def test_a_corridor_ends_before_a_body_or_goes_past_it():
    tracks, where, _ = approaching()
    cells = Cells((-5.0, 35.0), (-10.0, 10.0), 0.5)
    free = Occupancy(torch.full((1, *cells.shape), -2.0).double())
    made = corridor_past(tracks, cells, 2.0, free)
    assert abs(float(made.lengths[0, 0]) - (where - 2.0)) < 1.5
    assert float(made.length) > float(made.lengths[0, 0]) and float(made.curvature) != 0
    nobody = Tracks.none(10)
    assert float(corridor_past(nobody, cells, 2.0, free).lengths[0, 0]) == 30.0
    assert collisions_with(nobody, ROBOT, 2.0).time.shape == (0,)


def test_bad_input_is_told():
    tracks, _, told = approaching()
    with pytest.raises(ValueError, match="with box and velocity"):
        Bodies.of_tracks(tracks._replace(mean=tracks.mean[:, :7]))
    with pytest.raises(ValueError, match="one of their frames"):
        Bodies.of_boxes(told, 99)
    with pytest.raises(ValueError, match="0 or more"):
        grid_from_tracks(tracks, Cells(), ahead=-1.0)


def test_in_a_crossing_world_chances_of_a_collision_come_true():
    """Of tracks at 2 s of ten scenes: those said to be met within 3 s are, about as often as said."""
    drawn = CrossingWorlds(objects=30, duration=5.0).batch(10, torch.Generator().manual_seed(1))
    said, came = [], []
    for row in range(10):
        truth, found = drawn.objects(row)
        follows = Tracker(
            Detector(BoxNoise([[math.log(0.15), 0.3, 0.0]] * 7, along=False), ScoreCalibration(2.5, 1.5), least=-3.0),
            Predictor(ConstantVelocity([0.5, 0.5, 0.01], [0.01, 0.01, 0.01, 0.05])),
            SinglePass(Mahalanobis(60.0, 8.0), Hungarian()),
            Updater(Existence(seen=0.9)),
            Initiator([8.0, 8.0, 0.1], least=-1.0),
            Deleter(least=-3.0, silence=1.0),
            ByExistence(1.0),
        )
        history = follows.run(found.of_class("car"))
        frame = history.frames[20]
        tracks = frame.tracks.take(frame.shown)
        chance = collisions_with(tracks, (20.0, 20.0), 2.5).probability  # a wide robot: many are met
        for k, where in enumerate(tracks.mean[:, :2]):
            met = _met(truth.of_class("car"), where)
            if met is not None:
                said.append(float(chance[k]))
                came.append(met)
    said, came = torch.tensor(said), torch.tensor(came).float()
    assert len(said) > 20 and 0.05 < came.mean() < 0.95
    assert abs(float(said.mean() - came.mean())) < 0.12
    assert float(said[came > 0].mean()) > float(said[came == 0].mean()) + 0.4


def _met(truth, where):
    """Whether the body that is there at frame 20 touches the wide robot until frame 45; None if it is not seen."""
    at = slice(int(truth.splits[20]), int(truth.splits[21]))
    near = (truth.boxes[at, :2] - where).norm(dim=-1)
    if not len(near) or float(near.min()) > 2.0:
        return None
    body = truth.identity[at][near.argmin()]
    rows = (truth.identity == body) & (truth.frames >= 20) & (truth.frames <= 45)
    boxes = truth.boxes[rows]
    if len(boxes) < 20:
        return None
    from mambats.track.overlap import iou_bev

    robot = torch.tensor([[0.0, 0.0, 0.0, 20.0, 20.0, 2.0, 0.0]]).double()
    return bool((iou_bev(boxes, robot) > 1e-6).any())
