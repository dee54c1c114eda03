"""Decisions in a world whose truth is known."""

import math

import pytest
import torch

from mambats.decisions import (
    Cells,
    Discs,
    Occupancy,
    RaySensor,
    free_corridor,
    grid_from_boxes,
    grid_from_rays,
    time_to_collision,
)
from mambats.gaussian import Gaussian
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.world.layout import Layout
from mambats_datasets.synthetic.world.pose import sensor_pose, yaw_of
from mambats_datasets.synthetic.world.street import StreetWorlds

CELLS = Cells((-10.0, 30.0), (-12.0, 12.0), 0.25)
RAYS = RaySensor(spread=2 * math.pi / 320)


class Street:
    """Two sweeps of one drive each, their points in the robot's frame at the sweep's middle, and the boxes there."""

    def __init__(self, seed):
        world = StreetWorlds(SimulatedRobots("car", series=1, duration=1.5), sensors=("lidar",))
        with torch.no_grad():
            self.drives = drives = world.batch(2, torch.Generator().manual_seed(seed))
            begins, mount = drives.ticks["lidar"].time[:, 8], world.lidar.mount
            sent = begins[:, None] + world.lidar.times()
            place = drives.sweep.points[:, 8].double().unflatten(1, (world.lidar.columns, world.lidar.rings))
            out = sensor_pose(drives.ego(sent), mount).out(place)
            self.middle = begins[:, None] + sent.diff()[0, 0] * world.lidar.columns / 2
            body = drives.ego(self.middle)
            self.rotation, self.position = body.rotation[:, 0], body.position[:, 0]
            self.points = (out.flatten(1, 2) - self.position[:, None]) @ self.rotation
            self.mask = drives.sweep.returned[:, 8]
            boxes = drives.scene.boxes(self.middle)
            # Lower things than the rays can tell from the ground do not count.
            self.alive = boxes.alive[:, 0] & (boxes.size[:, 0, :, 2] > 1.0)
            centre = (boxes.centre[:, 0].double() - self.position[:, None]) @ self.rotation
            self.centre, self.size = centre[..., :2], boxes.size[:, 0, :, :2].double()
            self.yaw = boxes.yaw[:, 0].double() - yaw_of(self.rotation)[:, None]

    def grid(self):
        return grid_from_rays(self.points, torch.tensor([0.0, 0.0, 1.8]), CELLS, RAYS, self.mask)

    def depth(self, places):
        """How deep places (P, 2) lie inside the deepest box, shape (B, P), metres; negative outside."""
        away = places - self.centre[:, :, None]
        cos, sin = self.yaw.cos()[..., None], self.yaw.sin()[..., None]
        along, across = cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]
        inside = torch.stack([along, across], -1).abs() - self.size[:, :, None] / 2
        outside = inside.clamp_min(0).norm(dim=-1)
        depth = torch.where(outside > 0, -outside, -inside.amax(-1))
        return torch.where(self.alive[..., None], depth, -math.inf).amax(1)


@pytest.fixture(scope="module")
def streets():
    return [Street(seed) for seed in range(3)]


def test_what_rays_call_occupied_is_and_what_they_call_free_is_not(streets):
    far, within, free, known = 0, 0, 0, 0
    for street in streets:
        grid, depth = street.grid(), street.depth(CELLS.centres(street.points).flatten(0, 1)).view(2, *CELLS.shape)
        # A cell's half diagonal, the noise of ranges, and 0.05 s of what moves.
        near = CELLS.centres(depth)[..., 1].abs() < 9.0  # beyond, ground may rise into the band of obstacles
        far += int((grid.occupied() & near & (depth < -0.7)).sum())
        known += int((grid.occupied() & near).sum())
        within += int((grid.free() & (depth > 0.5)).sum())
        free += int(grid.free().sum())
        assert grid.unknown().float().mean() > 0.02
    assert known > 300 and far <= 0.01 * known
    assert free > 50_000 and within <= 0.002 * free


def test_the_free_corridor_holds_no_body(streets):
    for street in streets:
        made = free_corridor(street.grid(), CELLS, 2.2, start=2.5, reach=25.0)
        assert (made.length > 5).all()
        for b in range(2):
            along = torch.linspace(3.0, made.length[b].item() - 0.3, 60, dtype=torch.float64)
            across = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64)
            bend = made.curvature[b].item() or 1e-9
            angle, radius = bend * along[:, None], 1 / bend - across
            swath = torch.stack([radius * angle.sin(), 1 / bend - radius * angle.cos()], -1).flatten(0, 1)
            assert (street.depth(swath)[b] > 0.3).sum() == 0


def test_boxes_known_so_well_give_probabilities_that_come_true(streets):
    """Boxes are put off their true places by errors of the covariance that the grid is told of."""
    g = torch.Generator().manual_seed(0)
    said, true = [], []
    for street in streets[:2]:
        root = torch.randn(*street.yaw.shape, 2, 2, generator=g, dtype=torch.float64) * 0.4
        error = (root @ torch.randn(*street.yaw.shape, 2, 1, generator=g, dtype=torch.float64))[..., 0]
        covariance = root @ root.mT
        near = (street.centre.norm(dim=-1) < 30) & street.alive
        free = Occupancy(torch.full((2, *CELLS.shape), -3.5, dtype=torch.float64))
        given = Gaussian(street.centre + error, covariance)
        grid = grid_from_boxes(given, street.size, street.yaw, CELLS, existence=near.double(), prior=free)
        places = CELLS.centres(street.points).flatten(0, 1)
        told = (grid.log_odds > -3.4).flatten(1)  # elsewhere no box may be
        said.append(grid.probability.flatten(1)[told])
        true.append((street.depth(places) > 0)[told].double())
    said, true = torch.cat(said), torch.cat(true)
    for low, high in ((0.03, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.9, 1.0)):
        here = (said >= low) & (said <= high)
        assert here.sum() > 300 and abs(said[here].mean() - true[here].mean()) < 0.1


def test_meetings_that_come_were_likely_and_others_not():
    """Who comes within 3 m: predicted with errors of sensors and of driving, judged by where all truly went."""
    world = StreetWorlds(SimulatedRobots("car", series=1, duration=4.0), Layout(), sensors=())
    drives = world.batch(48, torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(1)
    ahead = torch.linspace(0.0, 1.5, 31, dtype=torch.float64)
    time = (1.0 + ahead).expand(48, -1)
    ego, moving = drives.ego(time), drives.scene.moving(time)
    away = moving.centre[..., :2].double() - ego.position[:, :, None, :2]
    radius = 3.0 + moving.size[:, 0, :, 1].double() / 2
    alive = moving.alive.all(1) & (away[:, 0].norm(dim=-1) > radius)
    meets = (away.norm(dim=-1) <= radius[:, None]).any(1)
    velocity = drives.scene.velocity(time[:, :1])[:, 0, :, :2].double() - ego.velocity[:, :1, :2]
    # 0.2 m and 0.3 m/s of the sensors; 1 m/s^2 of driving for 0.75 s on average widens the velocity.
    deviation = torch.tensor([0.2, 0.2, 0.8, 0.8], dtype=torch.float64)
    seen = torch.tensor([0.2, 0.2, 0.3, 0.3], dtype=torch.float64)
    mean = torch.cat([away[:, 0], velocity], -1)
    mean = mean + seen * torch.randn(mean.shape, generator=g, dtype=torch.float64)
    covariance = torch.diag(deviation.square()).expand(*mean.shape, 4)
    made = time_to_collision(Gaussian(mean, covariance), Discs(radius), 1.5)
    hit, miss = made.probability[alive & meets], made.probability[alive & ~meets]
    assert len(hit) >= 6 and len(miss) > 200
    assert hit.mean() > 0.5 and miss.mean() < 0.04
    share = made.probability[alive].mean() / meets[alive].double().mean()
    assert 0.6 < share < 1.6
    soon = made.time[alive & meets & (made.probability > 0.9)]
    assert (soon < 1.7).all()
