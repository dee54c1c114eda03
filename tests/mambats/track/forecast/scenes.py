"""Small scenes whose future is known in closed form."""

import torch

from mambats.encoders import CausalEncoder
from mambats.track import Objects
from mambats.track.forecast import Scene, TrajectoryForecaster, channels, with_own_motion
from mambats.track.forecast.scene import ages
from mambats.track.objects import splits_of

CLASSES = ("Car", "Pedestrian")
HORIZONS = (0.5, 1.0)


def forecaster(modes=1, horizons=HORIZONS):
    torch.manual_seed(0)
    return TrajectoryForecaster(CausalEncoder(channels(len(CLASSES)), 8, 1), CLASSES, horizons, modes)


def paths(frames=40, turn=0.0, seed=0, bodies=6, moving=2, step=0.1):
    """Places (M, T, 2), velocities and yaws in the axes of a sensor that drives an arc past bodies, and its motion."""
    g = torch.Generator().manual_seed(seed)
    time = torch.arange(frames).double() * step
    start = torch.rand(bodies, 2, generator=g).double() * torch.tensor([40.0, 30.0]) + torch.tensor([5.0, -15.0])
    over = torch.zeros(bodies, 2).double()
    over[:moving] = torch.randn(moving, 2, generator=g).double() * 3
    heading = turn * time
    speed = 6.0
    own = torch.stack([speed * _sin(turn, time), speed * _cos(turn, time)], -1)
    away = start[:, None] + over[:, None] * time[:, None] - own
    cos, sin = heading.cos(), heading.sin()
    place = torch.stack([cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]], -1)
    relative = over[:, None] - speed * torch.stack([cos, sin], -1)
    flow = torch.stack(
        [cos * relative[..., 0] + sin * relative[..., 1], cos * relative[..., 1] - sin * relative[..., 0]], -1
    )
    flow = flow - turn * torch.stack([-place[..., 1], place[..., 0]], -1)
    yaw = torch.rand(bodies, 1, generator=g).double() - heading
    return place, flow, yaw, speed


def _sin(turn, time):
    return torch.sin(turn * time) / turn if turn else time


def _cos(turn, time):
    return (1 - torch.cos(turn * time)) / turn if turn else torch.zeros_like(time)


def scene(name="a", frames=40, turn=0.0, seed=0, **more):
    """The scene of `paths`, with states that know the truth."""
    place, flow, yaw, _ = paths(frames, turn, seed, **more)
    count = len(place)
    mean = torch.zeros(count, frames, 10).double()
    mean[..., :2], mean[..., 6], mean[..., 7:9] = place, yaw, flow
    mean[..., 3:6] = torch.tensor([4.0, 2.0, 1.5]).double()
    seen = torch.ones(count, frames, dtype=torch.bool)
    stamps = torch.arange(frames) * 10**8
    covariance = (torch.eye(4) * torch.tensor([0.01, 0.01, 0.1, 0.1])).double().repeat(count, frames, 1, 1)
    labels = torch.arange(count) % len(CLASSES)
    body = torch.arange(count)[:, None].expand(count, frames).clone()
    made = Scene(name, stamps, labels, seen, mean, covariance, ages(seen, stamps), body, place)
    return with_own_motion(made, CLASSES)


def labels(frames=30, turn=0.0, seed=0):
    """Boxes with identities of the same world."""
    place, _, yaw, _ = paths(frames, turn, seed)
    count = len(place)
    boxes = torch.zeros(frames, count, 7).double()
    boxes[..., :2], boxes[..., 6] = place.transpose(0, 1), yaw.T
    boxes[..., 3:6] = torch.tensor([4.0, 2.0, 1.5]).double()
    return Objects(
        stamps=torch.arange(frames) * 10**8,
        splits=splits_of([count] * frames),
        boxes=boxes.flatten(0, 1),
        labels=torch.zeros(frames * count, dtype=torch.int64),
        classes=CLASSES,
        identity=torch.arange(count).repeat(frames),
    )


class Made:
    """A source of such scenes."""

    name = "made"
    classes = CLASSES

    def __init__(self, count=6):
        self.count = count

    def scenes(self):
        return [scene(f"{n}", seed=n, turn=0.1 * (n % 3 - 1)) for n in range(self.count)]
