"""Fill the gaps of bodies: where one was before and behind, it was between."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mambats.track.objects import Objects, splits_of


def interpolated(objects: Objects) -> Objects:
    """Return boxes in space with identity, class and score, those missing between a body's first and last put in.

    Centre, size and score are linear in time, yaw goes the shorter way.

    Args:
        objects: With identities; pixels and all else are left out.

    Raises:
        ValueError: If there are no identities.

    Source: nuScenes' tracking evaluation; its own code swaps the weights of both ends, which matters in gaps of two
    frames and more.
    """
    if objects.identity is None:
        raise ValueError("boxes have no identities: between which are gaps to be filled?")
    frames = objects.frames
    order = torch.from_numpy(np.lexsort((frames.cpu().numpy(), objects.identity.cpu().numpy())))
    before, behind = order[:-1], order[1:]
    gap = frames[behind] - frames[before] - 1
    gap = torch.where(objects.identity[behind] == objects.identity[before], gap, 0).clamp_min(0)
    left, right = before.repeat_interleave(gap), behind.repeat_interleave(gap)
    count = torch.arange(len(left)) - (gap.cumsum(0) - gap).repeat_interleave(gap)
    frame = frames[left] + 1 + count
    stamps = objects.stamps.double()
    share = (stamps[frame] - stamps[frames[left]]) / (stamps[frames[right]] - stamps[frames[left]])
    frames = torch.cat([frames, frame])
    sorting = torch.sort(frames, stable=True).indices
    counts = torch.bincount(frames, minlength=len(objects))

    def filled(one: Tensor, more: Tensor) -> Tensor:
        return torch.cat([one, more])[sorting]

    score = objects.score
    return Objects(
        stamps=objects.stamps,
        splits=splits_of(counts.tolist()),
        boxes=filled(objects.boxes, _between(objects.boxes[left], objects.boxes[right], share)),
        labels=filled(objects.labels, objects.labels[left]),
        classes=objects.classes,
        score=None if score is None else filled(score, score[left] + share * (score[right] - score[left])),
        identity=filled(objects.identity, objects.identity[left]),
    )


def _between(left: Tensor, right: Tensor, share: Tensor) -> Tensor:
    apart = right - left
    apart[:, 6] = torch.remainder(apart[:, 6] + math.pi, 2 * math.pi) - math.pi
    return left + share[:, None] * apart
