"""Boxes as a detector on a LiDAR would give them: noisy, missing where far or hidden, with false ones in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.trajectory import Trajectory
from mambats_datasets.synthetic.world.chance import choice, normal, uniform
from mambats_datasets.synthetic.world.crowd import SHARES
from mambats_datasets.synthetic.world.kinds import MOVING, draw_sizes
from mambats_datasets.synthetic.world.lidar import MOUNT, TIMING
from mambats_datasets.synthetic.world.pose import sensor_pose, yaw_of
from mambats_datasets.synthetic.world.scene import Scene
from mambats_datasets.synthetic.world.visible import visibility

FALSE = -1  # identity of a box that shows nothing
FADE = (0.8, 0.07)  # of the reach: half are missed at 0.8 of it, and the logistic edge is 0.07 of it wide
HIDDEN, PLAIN = 0.1, 0.5  # visible shares at which nothing and everything is detected
SPREAD = (1.0, 1.0, 0.5, 0.3, 0.2, 0.2)  # of x, y, z, l, w, h: deviations as shares of `noise`
TURN = 0.3  # rad a metre of `noise`
FLIP = 0.02  # share of the boxes that face backwards
TRUE_SCORE, FALSE_SCORE = (-1.0, 5.0, 0.8), (-1.2, 0.0, 1.0)  # logit: level, slope over the chance, deviation


class Targets(NamedTuple):
    """What there is: M objects at T times in B scenes, in the sensor's frame at each time."""

    box: Tensor  # (B, T, M, 7) x y z of the middle, l, w, h, yaw; m and rad
    velocity: Tensor  # (B, T, M, 3) over the ground, in the sensor's axes, m/s
    kind: Tensor  # (B, M) int64: index into KINDS
    alive: Tensor  # (B, T, M) bool: it is there, and not farther than the reach
    visible: Tensor  # (B, T, M) share that can be seen, 0 to 1
    floor: Tensor  # (B, T) height of the sensor over the ground below it, m


class Detections(NamedTuple):
    """What is said to be there: D boxes at T times in B scenes, in the sensor's frame, the highest score first."""

    box: Tensor  # (B, T, D, 7) as of Targets
    score: Tensor  # (B, T, D) 0 to 1, rises with the chance to be true but is not that chance
    kind: Tensor  # (B, T, D) int64
    present: Tensor  # (B, T, D) bool; the rest is padding
    identity: Tensor  # (B, T, D) int64: index of the object, FALSE where there is none. For scoring only
    deviation: Tensor  # (B, T, D, 7) standard deviations that the noise was drawn with, flips apart


@dataclass(frozen=True)
class Detector:
    """A detector of what moves.

    An object is detected with the chance p = hit logistic((0.8 reach - range) / (0.07 reach)) clip((v - 0.1) / 0.4),
    v being its visible share. Noise grows with range and hiding: deviation = noise (1 + range / reach) / sqrt(v), v at
    least 0.25. Scores are logistic(-1 + 5 p / hit + 0.8 n) of true and logistic(-1.2 + n) of false boxes, n normal.

    Args:
        reach: Range beyond which nothing is detected, metres.
        noise: Standard deviation of x and y of a near, plain object, metres.
        hit: Chance to detect a near, plain object.
        clutter: Mean number of false boxes a time, Poisson, anywhere within reach.
        timing: Rate and clock.
        mount: Where the sensor sits on the body.
        flip: Share of the boxes that face backwards.
    """

    reach: float = 60.0
    noise: float = 0.1
    hit: float = 0.97
    clutter: float = 1.5
    timing: Timing = TIMING
    mount: Rigid = MOUNT
    flip: float = FLIP

    def __post_init__(self) -> None:
        """Check the numbers."""
        shares = 0 <= self.hit <= 1 and 0 <= self.flip <= 1
        if not self.reach > 0 or self.noise < 0 or not shares or self.clutter < 0:
            raise ValueError(
                f"reach is {self.reach} m, noise {self.noise} m, hit {self.hit}, clutter {self.clutter}, flip "
                f"{self.flip}: needed above 0, at least 0, 0 to 1, at least 0, 0 to 1."
            )

    def targets(self, scene: Scene, ego: Trajectory, t: Tensor, visible: Tensor | None = None) -> Targets:
        """What there is at times t (B, T) in seconds; `visible` (B, T, M) where it is known, else it is looked for."""
        pose = sensor_pose(ego(t), self.mount)
        boxes = scene.moving(t)
        turned = boxes.yaw - yaw_of(pose.rotation)[..., None]
        yaw = torch.atan2(turned.sin(), turned.cos())
        centre = pose.into(boxes.centre)
        alive = boxes.alive & (centre.norm(dim=-1) <= self.reach)
        if visible is None:
            visible = visibility(scene, pose.position, t, self.reach + 10)
        velocity = scene.velocity(t) @ pose.rotation
        floor = pose.position[..., 2] - scene.ground.height(pose.position[..., :2])
        box = torch.cat([centre, boxes.size, yaw[..., None]], -1)
        return Targets(box, velocity, scene.kind[:, : scene.count], alive, visible, floor)

    def detect(self, targets: Targets, generator: torch.Generator) -> Detections:
        """Draw detections of targets, at most M + 4 sqrt(clutter) + clutter a time, with noise from a generator."""
        chance = self.chance(targets)
        found = uniform(generator, *chance.shape) < self.hit * chance
        deviation = self.deviation(targets)
        box = targets.box + deviation * normal(generator, *targets.box.shape)
        box[..., 3:6] = box[..., 3:6].clamp_min(0.1)
        flip = torch.pi * (uniform(generator, *found.shape) < self.flip)
        box[..., 6] += flip
        score = self._score(True, chance, generator)
        kind = targets.kind[:, None].expand_as(found)
        identity = torch.arange(found.shape[2], device=found.device).expand_as(found)
        true = Detections(box, score, kind, found, identity, deviation)
        false = self._false(targets.floor, generator)
        joined = Detections(*(torch.cat(pair, 2) for pair in zip(true, false, strict=True)))
        return _sorted(joined)

    def chance(self, targets: Targets) -> Tensor:
        """How easy each target is to detect, (B, T, M), 0 to 1: `hit` of this is the chance that it is."""
        far = targets.box[..., :3].norm(dim=-1)
        near = torch.sigmoid((FADE[0] * self.reach - far) / (FADE[1] * self.reach))
        plain = ((targets.visible - HIDDEN) / (PLAIN - HIDDEN)).clamp(0, 1)
        return near * plain * targets.alive

    def deviation(self, targets: Targets) -> Tensor:
        """Standard deviations of x y z l w h and yaw, (B, T, M, 7)."""
        far = targets.box[..., :3].norm(dim=-1)
        level = self.noise * (1 + far / self.reach) / targets.visible.clamp_min(0.25).sqrt()
        return level[..., None] * torch.tensor([*SPREAD, TURN], device=far.device, dtype=far.dtype)

    def _false(self, floor: Tensor, generator: torch.Generator) -> Detections:
        """False boxes anywhere within reach, uniform over the ground."""
        most = math.ceil(self.clutter + 4 * math.sqrt(self.clutter))
        shape = (*floor.shape, most)
        count = torch.poisson(torch.full_like(floor, self.clutter), generator=generator)
        present = torch.arange(most, device=generator.device) < count[..., None]
        kind = choice(generator, MOVING, SHARES, *shape)
        far = self.reach * uniform(generator, *shape).sqrt()
        angle = uniform(generator, *shape, low=-torch.pi, high=torch.pi)
        size = draw_sizes(kind, generator)
        height = size[..., 2] / 2 - floor[..., None] + 0.2 * normal(generator, *shape)
        yaw = uniform(generator, *shape, low=-torch.pi, high=torch.pi)
        place = torch.stack([far * angle.cos(), far * angle.sin(), height], -1)
        box = torch.cat([place, size, yaw[..., None]], -1)
        score = self._score(False, torch.zeros_like(far), generator)
        return Detections(box, score, kind, present, torch.full_like(kind, FALSE), torch.zeros_like(box))

    def _score(self, real: bool, chance: Tensor, generator: torch.Generator) -> Tensor:
        return draw_scores(TRUE_SCORE if real else FALSE_SCORE, chance, generator)


def draw_scores(law: tuple[float, float, float], chance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw scores of things that were so easy to detect, 0 to 1; the law is level, slope and deviation of the logit."""
    level, slope, deviation = law
    return torch.sigmoid(level + slope * chance + deviation * normal(generator, *chance.shape))


def _sorted(detections: Detections) -> Detections:
    """The highest score first, padding last with zeros: the order says nothing of the identity."""
    rank = detections.score.masked_fill(~detections.present, -torch.inf).argsort(stable=True, dim=-1, descending=True)
    box, score, kind, present, identity, deviation = detections
    seven = rank[..., None].expand(*rank.shape, 7)
    here = present.gather(2, rank)
    box = box.gather(2, seven)
    box[..., 6] = torch.atan2(box[..., 6].sin(), box[..., 6].cos())
    return Detections(
        box.where(here[..., None], 0.0),
        score.gather(2, rank).where(here, 0.0),
        kind.gather(2, rank).where(here, 0),
        here,
        identity.gather(2, rank).where(here, FALSE),
        deviation.gather(2, seven).where(here[..., None], 0.0),
    )
