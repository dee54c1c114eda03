"""What moves: exact velocities, births and deaths, and no collisions."""

import torch

from mambats_datasets.synthetic.trajectory import random_trajectory, uniform_times
from mambats_datasets.synthetic.world import LABELS, Layout
from mambats_datasets.synthetic.world.crowd import ego_way
from mambats_datasets.synthetic.world.kinds import CAR, KINDS, MOVING, STANDING
from mambats_datasets.synthetic.world.overlap import overlap


def test_velocity_and_yaw_rate_are_derivatives(drawn):
    scene, _, _ = drawn
    t = torch.linspace(-3, 9, 25, dtype=torch.float64).expand(2, 25)
    state, step = scene.movers.at(t), 1e-5
    after, before = scene.moving(t + step), scene.moving(t - step)
    torch.testing.assert_close((after.centre - before.centre) / (2 * step), scene.velocity(t), rtol=0, atol=1e-7)
    torch.testing.assert_close((after.yaw - before.yaw) / (2 * step), state.yaw_rate, rtol=0, atol=1e-7)
    speed = state.velocity.norm(dim=-1)
    along = state.velocity[..., 0] * state.yaw.cos() + state.velocity[..., 1] * state.yaw.sin()
    torch.testing.assert_close(along, speed, rtol=1e-9, atol=1e-9), "nothing drives backwards or slips"


def test_straight_and_nearly_straight_ways_agree(drawn):
    movers = drawn[0].movers
    t = torch.tensor([[2.0]] * 2, dtype=torch.float64)
    ways = []
    for curvature in (0.0, 1e-12):
        movers.curvature.fill_(curvature)
        ways.append(movers.at(t).place)
    torch.testing.assert_close(ways[0], ways[1], rtol=0, atol=1e-8)


def test_things_are_there_from_birth_until_before_death(drawn):
    movers = drawn[0].movers
    birth, _, death = movers.life.unbind(-1)
    drawn_in = death > birth
    assert drawn_in.any()
    assert (~drawn_in).any() or drawn_in.all()
    one = torch.nonzero(drawn_in)[0].tolist()
    edges = torch.stack([birth[*one] - 1e-6, birth[*one], death[*one] - 1e-6, death[*one]])
    there = movers.at(edges.expand(2, 4)).alive[one[0], :, one[1]]
    assert there.tolist() == [False, True, True, False]


def test_nothing_collides(drawn):
    scene, ego, _ = drawn
    t = uniform_times(2, 4.0, 10.0)
    boxes, count = scene.boxes(t), scene.count
    rows = torch.arange(t.shape[1]).expand(2, -1)
    place, way = ego_way(ego(t), rows)
    spots = torch.cartesian_prod(torch.linspace(-0.5, 0.5, 7), torch.linspace(-0.5, 0.5, 5)).double()
    bodies = boxes.points(torch.cat([spots, 0 * spots[:, :1]], -1))[:, :, :count, :, :2].flatten(2, 3)
    own = torch.stack([4.5 * spots[:, 0], 2.0 * spots[:, 1]], -1)
    turned = torch.stack([
        way.cos()[..., None] * own[:, 0] - way.sin()[..., None] * own[:, 1],
        way.sin()[..., None] * own[:, 0] + way.cos()[..., None] * own[:, 1],
    ], -1)  # fmt: skip
    everything = torch.cat([place[:, :, None] + turned, bodies], 2)
    owner = torch.cat([torch.full((35,), -1), torch.arange(count).repeat_interleave(35)])
    there = torch.cat([torch.ones(2, t.shape[1], 35, dtype=torch.bool),
                       boxes.alive[:, :, :count].repeat_interleave(35, -1)], -1)  # fmt: skip
    x, y = (everything[..., None, :] - boxes.centre[:, :, None, :, :2]).unbind(-1)
    cos, sin = boxes.yaw.cos()[:, :, None], boxes.yaw.sin()[:, :, None]
    half = boxes.size[:, :, None, :, :2] / 2
    held = ((cos * x + sin * y).abs() < half[..., 0]) & ((cos * y - sin * x).abs() < half[..., 1])
    held &= there[..., None] & boxes.alive[:, :, None] & (owner[:, None] != torch.arange(held.shape[-1]))
    assert there[..., 35:].any()
    assert not held.any()


def test_overlap_knows_corners_and_margins():
    def rectangle(x, y, length, width, yaw):
        numbers = torch.tensor([x, y, length, width, yaw], dtype=torch.float64)
        return numbers[None, :2], numbers[None, 2:4], numbers[4:]

    long, square = rectangle(0, 0, 10, 1, 0.0), rectangle(0, 1.3, 1, 1, torch.pi / 4)
    assert not overlap(long, square, 0.0), "the corner points at the side, 0.09 m away"
    assert overlap(long, square, 0.1)
    assert overlap(square, long, 0.1)
    assert overlap(rectangle(0, 0, 10, 1, 0.5), rectangle(0, 0, 10, 1, 2.0), 0.0), "a cross has no corner inside"
    assert not overlap(rectangle(0, 0, 2, 2, 0.3), rectangle(2.9, 0, 2, 2, 0.3), 0.0)


def test_classes_sizes_and_speeds_are_real():
    generator = torch.Generator().manual_seed(0)
    ego = random_trajectory("car", 20, 5.0, generator)
    scene = Layout(objects=40, structures=40).draw(generator, ego)
    moving, standing = scene.kind[:, :40], scene.kind[:, 40:]
    assert set(moving.unique().tolist()) == set(MOVING)
    assert set(standing.unique().tolist()) == set(STANDING)
    assert LABELS == tuple(kind.name for kind in KINDS)
    speed = scene.movers.at(torch.full((20, 1), 2.0, dtype=torch.float64)).velocity.norm(dim=-1)[:, 0]
    for index in MOVING:
        size = scene.movers.size[moving == index].mean(0)
        torch.testing.assert_close(size, torch.tensor(KINDS[index].size, dtype=torch.float64), rtol=0.03, atol=0)
        assert speed[moving == index].amax() <= 1.6 * KINDS[index].speed[1]
    parked = (scene.movers.speed[moving == CAR] == 0).double().mean()
    assert 0.1 < parked < 0.3


def test_same_seed_same_world_and_more_room_is_fuller():
    def world(seed, objects=10):
        generator = torch.Generator().manual_seed(seed)
        return Layout(objects=objects, relief=0.3).draw(generator, random_trajectory("car", 3, 5.0, generator))

    first, again, other = world(1), world(1), world(2)
    assert all(a.equal(b) for a, b in zip(first.structures, again.structures, strict=True))
    assert first.movers.life.equal(again.movers.life)
    assert not first.movers.life.equal(other.movers.life)
    assert (world(1, 60).movers.at(torch.ones(3, 1)).alive.sum() > first.movers.at(torch.ones(3, 1)).alive.sum()).all()


def test_the_street_goes_on_after_the_end_of_the_way():
    generator = torch.Generator().manual_seed(0)
    ego = random_trajectory("car", 6, 5.0, generator)
    structures = Layout().draw(generator, ego).structures
    last = ego(torch.full((6, 1), 5.0, dtype=torch.float64))
    away = structures.centre - last.position
    ahead = (away * last.rotation[..., 0]).sum(-1)
    assert ((ahead > 30) & structures.alive).sum(1).min() >= 3
