"""What a surface looks like: its class and texture in the light of a sun, in haze."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.kinds import table
from mambats_datasets.synthetic.world.lidar import kinds_of
from mambats_datasets.synthetic.world.rays import EARTH, NOTHING, Hits
from mambats_datasets.synthetic.world.scene import Scene

SUN = (0.36, 0.48, 0.80)  # towards the sun, of length 1
AMBIENT = 0.5  # share of the light that comes from everywhere
SKY = (0.65, 0.78, 0.92)
HAZE = 150.0  # m over which a colour keeps 1/e of itself before the sky's
TEXTURE = 0.25  # share by which the pattern brightens and darkens
TILE = (1.3, 1.7, 1.1)  # m, half waves of the pattern along the axes: no two repeat together within 20 m


def shade(scene: Scene, hits: Hits, direction: Tensor) -> Tensor:
    """Colours (B, K, n, 3), 0 to 1, of what rays meet; the pattern moves with its object, so that flow can be seen."""
    sun, sky = (torch.tensor(part).to(direction) for part in (SUN, SKY))
    waves = (hits.local * (torch.pi / torch.tensor(TILE).to(direction))).cos()
    pattern = 1 + TEXTURE * (waves[..., 0] * waves[..., 1] * waves[..., 2].where(hits.object != EARTH, 1.0)).sign()
    own = 0.75 + 0.5 * (hits.object * 0.618034 % 1)  # tells objects of one class apart
    light = AMBIENT + (1 - AMBIENT) * (hits.normal @ sun).clamp_min(0)
    colour = table("colour", direction)[kinds_of(scene, hits)] * (light * pattern * own.to(light))[..., None]
    clear = (-hits.reach / HAZE).exp().where(hits.object != NOTHING, 0.0)[..., None]
    return colour * clear + sky * (1 - clear)
