"""Worlds for trackers: B scenes at once, and each as labels and detections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.objects import Objects
from mambats_datasets.synthetic.crossing.law import MotionLaw, Start, Straight
from mambats_datasets.synthetic.crossing.shadow import shown
from mambats_datasets.synthetic.crossing.stated import StatedDetector
from mambats_datasets.synthetic.world.chance import choice, uniform
from mambats_datasets.synthetic.world.crowd import EGO, SHARES, blocks, collisions
from mambats_datasets.synthetic.world.detections import Detections, Targets
from mambats_datasets.synthetic.world.kinds import MOVING, draw_sizes, table
from mambats_datasets.synthetic.world.mover import MoverState
from mambats_datasets.synthetic.world.objects import detected_objects, true_objects

CLOSEST = 4.0  # m from the sensor to where a body is at its pivot
LIVES = (0.3, 1.3)  # shares of the duration, shortest and longest
HEIGHT = 1.8  # m of the sensor over the ground


class Crossings(NamedTuple):
    """B scenes of T frames with M bodies."""

    times: Tensor  # (B, T) s
    targets: Targets  # Truth, in the sensor's frame
    detections: Detections
    odds: float  # expected true boxes for each false one, over all frames

    def objects(self, row: int) -> tuple[Objects, Objects]:
        """Truth and detections of one scene; stamps count from 0.

        Truth has identity, velocity and, from what is shown, `occluded`; detections have score and covariance.
        """
        stamps = (self.times[row].cpu() * 1e9).round().long()
        return true_objects(stamps, self.targets, row), detected_objects(stamps, self.detections, row)


@dataclass(frozen=True)
class CrossingWorlds:
    """Cars, pedestrians and cyclists that cross around a sensor at rest, hide one another, appear and vanish.

    Each is drawn somewhere in reach at a moment of its own, lives for 0.3 to 1.3 of the duration and may be there
    before it begins or after it ends. Those that would touch the sensor or one of a lower index never appear. There
    are no houses: only bodies hide bodies.

    Args:
        objects: Bodies M a scene.
        duration: Seconds.
        rate: Frames a second.
        jitter: Share by which each step is longer or shorter at most, uniform; under 1.
        motion: How they move; None is `Straight()`.
        detector: What says where they are; None is `StatedDetector()`.
        view: Angle about x in which they are drawn, rad; less than 2 pi crowds them.

    Example:
        made = CrossingWorlds().batch(1000, torch.Generator().manual_seed(0))
        truth, detections = made.objects(0)
    """

    objects: int = 16
    duration: float = 10.0
    rate: float = 10.0
    jitter: float = 0.0
    motion: MotionLaw | None = None
    detector: StatedDetector | None = None
    view: float = 2 * math.pi

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.objects < 0 or self.duration * self.rate < 1 or self.rate <= 0 or not 0 <= self.jitter < 1:
            raise ValueError(
                f"objects are {self.objects}, duration {self.duration} s, rate {self.rate} Hz, jitter {self.jitter}: "
                "needed at least 0, at least one frame, above 0, and 0 to under 1."
            )
        if not 0 < self.view <= 2 * math.pi:
            raise ValueError(f"view is {self.view} rad: needed above 0 and at most 2 pi.")

    def batch(self, count: int, generator: torch.Generator) -> Crossings:
        """Simulate `count` scenes, on the generator's device: the same for the same seed."""
        detector = self.detector or StatedDetector()
        times = self._times(count, generator)
        targets = self._targets(times, detector.reach, generator)
        expected = detector.hit * float(detector.chance(targets).sum()) / times.numel()
        odds = expected / detector.clutter if detector.clutter else math.inf
        return Crossings(times, targets, detector.detect(targets, generator), odds)

    def _times(self, count: int, generator: torch.Generator) -> Tensor:
        frames = math.ceil(self.duration * self.rate - 1e-9)
        step = 1 + self.jitter * uniform(generator, count, frames, low=-1.0, high=1.0)
        step[:, 0] = 0
        return step.cumsum(1) / self.rate

    def _targets(self, times: Tensor, reach: float, generator: torch.Generator) -> Targets:
        kind = choice(generator, MOVING, SHARES, times.shape[0], self.objects)
        start, life = self._start(kind, times, reach, generator)
        state = (self.motion or Straight()).draw(start, times, generator)
        size = draw_sizes(kind, generator)
        within = (times[..., None] >= life[:, None, :, 0]) & (times[..., None] < life[:, None, :, 1])
        alive = self._apart(state, size, within, times)
        height = (size[..., 2] / 2 - HEIGHT)[:, None, :, None].expand(*within.shape, 1)
        yaw = torch.atan2(state.yaw.sin(), state.yaw.cos())
        box = torch.cat([state.place, height, size[:, None].expand(*within.shape, 3), yaw[..., None]], -1)
        alive = alive & (box[..., :3].norm(dim=-1) <= reach)
        velocity = torch.nn.functional.pad(state.velocity, (0, 1))
        return Targets(box, velocity, kind, alive, shown(box, alive), torch.full_like(times, HEIGHT))

    def _start(self, kind: Tensor, times: Tensor, reach: float, generator: torch.Generator) -> tuple[Start, Tensor]:
        """Where they are at their pivots, and birth and death (B, M, 2) in seconds."""
        shape = (kind.shape[0], kind.shape[1])
        length = self.duration * uniform(generator, *shape, low=LIVES[0], high=LIVES[1])
        birth = self.duration * uniform(generator, *shape, low=-0.5, high=0.9)
        middle = (birth + length * uniform(generator, *shape)).clamp(0, self.duration)
        pivot = torch.searchsorted(times.contiguous(), middle).clamp_max(times.shape[1] - 1)
        far = uniform(generator, *shape, low=CLOSEST, high=0.8 * reach)
        angle = self.view * (uniform(generator, *shape) - 0.5)
        slow, fast = table("speed", far)[kind].unbind(-1)
        speed = slow + (fast - slow) * uniform(generator, *shape)
        heading = uniform(generator, *shape, low=-torch.pi, high=torch.pi)
        place = torch.stack([far * angle.cos(), far * angle.sin()], -1)
        return Start(kind, pivot, place, heading, speed), torch.stack([birth, birth + length], -1)

    def _apart(self, state: MoverState, size: Tensor, within: Tensor, times: Tensor) -> Tensor:
        """Who is there (B, T, M), once those are left out that would touch the sensor or one before them."""
        count = size.shape[1] + 1
        place, yaw, alive = (torch.nn.functional.pad(p, pad) for p, pad in
                             ((state.place, (0, 0, 1, 0)), (state.yaw, (1, 0)), (within, (1, 0))))  # fmt: skip
        alive[..., 0] = True
        ego = size.new_tensor(EGO).expand(len(size), 1, 2)
        wide = torch.cat([ego, size[..., :2]], 1)[:, None].expand(*yaw.shape, 2)
        hit = torch.zeros((len(size), count, count), dtype=torch.bool, device=size.device)
        for some in blocks(times, count**2):
            hit |= collisions(((place[:, some], wide[:, some], yaw[:, some]), alive[:, some]), None)
        earlier = torch.ones(count, count, dtype=torch.bool, device=size.device).triu(1)
        return within & ~(hit & earlier).any(1)[:, None, 1:]
