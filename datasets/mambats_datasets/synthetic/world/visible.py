"""How much of what moves can be seen from somewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.rays import towards
from mambats_datasets.synthetic.world.scene import Boxes, Scene

SHARE = 0.4  # of the size: the probes lie a tenth inside the box, so that a neighbour that touches it hides none


def visibility(scene: Scene, origin: Tensor, t: Tensor, limit: float) -> Tensor:
    """Share of nine probes of each moving object, its middle and towards its corners, that a ray reaches.

    Args:
        scene: B scenes.
        origin: From where, shape (B, T, 3), metres.
        t: When, shape (B, T), seconds.
        limit: Longest range, metres.

    Returns:
        Shape (B, T, M), 0 to 1; 0 for objects that are not there or farther away.
    """
    boxes = scene.moving(t)
    shown = torch.zeros_like(boxes.yaw)
    near = boxes.alive & ((boxes.centre - origin[:, :, None]).norm(dim=-1) <= limit)
    most = int(near.sum(-1).amax()) if near.numel() else 0
    if not most:
        return shown
    some = near.byte().topk(most, -1).indices  # the rest need no rays
    three = some[..., None].expand(*some.shape, 3)
    centre, size = boxes.centre.gather(2, three), boxes.size.gather(2, three)
    boxes = Boxes(centre, size, boxes.yaw.gather(2, some), boxes.alive.gather(2, some))
    bits = torch.arange(8, device=t.device)
    signs = torch.stack([bits & 1, bits >> 1 & 1, bits >> 2 & 1], -1).to(boxes.centre) * 2 - 1
    probes = boxes.points(SHARE * torch.cat([signs, torch.zeros_like(signs[:1])]))  # (B, T, A, 9, 3)
    hits = cast(scene, towards(origin, probes.flatten(2, 3), t, torch.float32)[0], limit)
    share = (hits.object.view(*some.shape, 9) == some[..., None]).to(shown).mean(-1)
    return shown.scatter(2, some, share)
