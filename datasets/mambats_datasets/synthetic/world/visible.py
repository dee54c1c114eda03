"""How much of what moves can be seen from somewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.rays import towards
from mambats_datasets.synthetic.world.scene import Scene

SHARE = 0.4  # of the size: the probes lie a tenth inside the box, so that a neighbour that touches it hides none


def visibility(scene: Scene, origin: Tensor, t: Tensor, limit: float) -> Tensor:
    """Share of nine probes of each moving object, its middle and towards its corners, that a ray reaches.

    Args:
        scene: B scenes.
        origin: From where, shape (B, T, 3), metres.
        t: When, shape (B, T), seconds.
        limit: Longest range, metres.

    Returns:
        Shape (B, T, M), 0 to 1; 0 for objects that are not there.
    """
    boxes = scene.moving(t)
    bits = torch.arange(8, device=t.device)
    signs = torch.stack([bits & 1, bits >> 1 & 1, bits >> 2 & 1], -1).to(boxes.centre) * 2 - 1
    probes = boxes.points(SHARE * torch.cat([signs, torch.zeros_like(signs[:1])]))  # (B, T, M, 9, 3)
    hits = cast(scene, towards(origin, probes.flatten(2, 3), t, torch.float32)[0], limit)
    own = torch.arange(scene.count, device=t.device)[:, None]
    return (hits.object.view(*t.shape, scene.count, 9) == own).float().mean(-1).to(boxes.centre)
