"""How alike two boxes are, box by box: tensors of the same (or broadcast) leading shape, one number a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.overlap.planar import shared_and_hull_area, shared_area


def iou_bev_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes (..., 7) seen from above, shape (...), 0 where both are empty."""
    shared = shared_area(a, b)
    return _ratio(shared, _area(a) + _area(b) - shared)


def iou_3d_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of the volumes of boxes (..., 7), shape (...), 0 where both are empty."""
    shared = shared_area(a, b) * _shared_height(a, b)
    return _ratio(shared, _volume(a) + _volume(b) - shared)


def giou_3d_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised intersection over union of boxes (..., 7), shape (...), from -1 (far apart) to 1 (same).

    I / U - (C - U) / C, C the volume of the convex hull seen from above times the height both span.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019; in space as Weng et al. (AB3DMOT, 2020).
    """
    shared, around = shared_and_hull_area(a, b)
    shared = shared * _shared_height(a, b)
    union = _volume(a) + _volume(b) - shared
    top, bottom = torch.maximum(_top(a), _top(b)), torch.minimum(_bottom(a), _bottom(b))
    hull = around * (top - bottom)
    return _ratio(shared, union) - _ratio(hull - union, hull)


def iou_2d_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes left, top, right, bottom (..., 4), shape (...), 0 if one is empty."""
    shared = _shared_pixels(a, b)
    full = _pixels(a) + _pixels(b)
    return torch.where((_pixels(a) <= 0) | (_pixels(b) <= 0), torch.zeros_like(shared), _ratio(shared, full - shared))


def share_within_2d_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return which share of the area of a box a (..., 4) lies in b (..., 4), shape (...), 0 if a is empty."""
    return _ratio(_shared_pixels(a, b), _pixels(a))


def centre_distance_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of the centres of boxes (..., 7) on the ground plane (x, y), shape (...), m."""
    return torch.hypot(a[..., 0] - b[..., 0], a[..., 1] - b[..., 1])


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    empty = whole <= 0
    return torch.where(empty, torch.zeros_like(part), part / torch.where(empty, torch.ones_like(whole), whole))


def _area(box: Tensor) -> Tensor:
    return box[..., 3] * box[..., 4]


def _volume(box: Tensor) -> Tensor:
    return box[..., 3] * box[..., 4] * box[..., 5]


def _top(box: Tensor) -> Tensor:
    return box[..., 2] + box[..., 5] / 2


def _bottom(box: Tensor) -> Tensor:
    return box[..., 2] - box[..., 5] / 2


def _shared_height(a: Tensor, b: Tensor) -> Tensor:
    # From the difference of the centres: what identical boxes share is then exactly their height.
    apart = (a[..., 2] - b[..., 2]).abs()
    most = torch.minimum(a[..., 5], b[..., 5])
    return torch.minimum((a[..., 5] + b[..., 5]) / 2 - apart, most).clamp_min(0)


def _pixels(box: Tensor) -> Tensor:
    return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])


def _shared_pixels(a: Tensor, b: Tensor) -> Tensor:
    wide = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    high = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    return wide.clamp_min(0) * high.clamp_min(0)
