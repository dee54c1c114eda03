"""How alike all boxes of one set are to all of another: (..., N, 7) and (..., M, 7) to (..., N, M)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mambats.track.objects import BOX
from mambats.track.overlap.pairs import (
    centre_distance_of_pairs,
    giou_3d_of_pairs,
    iou_2d_of_pairs,
    iou_3d_of_pairs,
    iou_bev_of_pairs,
)

# Below it all pairs are computed: on a CPU, picking the near ones costs as much as some thousand pairs.
_FEW = 2048


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of volumes, of every box of a with every box of b.

    Args:
        a: Shape (..., N, 7), see `mambats.track.objects.BOX`, m and rad.
        b: Shape (..., M, 7), the same leading axes.

    Returns:
        Shape (..., N, M), 0 to 1; NaN where a box has NaN.

    Raises:
        ValueError: If shapes do not fit.
    """
    return _near_pairs(iou_3d_of_pairs, a, b)


def iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union seen from above; as `iou_3d`."""
    return _near_pairs(iou_bev_of_pairs, a, b)


def giou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised intersection over union, -1 to 1; else as `iou_3d`, and as `giou_3d_of_pairs` has it."""
    _check(a, b, len(BOX))
    return giou_3d_of_pairs(a.unsqueeze(-2), b.unsqueeze(-3))


def iou_2d(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes in the picture.

    Args:
        a: Left, top, right, bottom, shape (..., N, 4), px.
        b: Shape (..., M, 4), the same leading axes.

    Returns:
        Shape (..., N, M), 0 to 1.

    Raises:
        ValueError: If shapes do not fit.
    """
    _check(a, b, 4)
    return iou_2d_of_pairs(a.unsqueeze(-2), b.unsqueeze(-3))


def centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of centres on the ground plane, shape (..., N, M), m; else as `iou_3d`."""
    _check(a, b, len(BOX))
    return centre_distance_of_pairs(a.unsqueeze(-2), b.unsqueeze(-3))


def _near_pairs(of_pairs: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Compute the pairs whose circles meet, all where they are few; the others share nothing."""
    _check(a, b, len(BOX))
    rows, columns = a.unsqueeze(-2), b.unsqueeze(-3)
    if a.shape[-2] * b.shape[-2] * a.shape[:-2].numel() <= _FEW or a.is_cuda:
        return of_pairs(rows, columns)
    reach = torch.hypot(a[..., 3], a[..., 4])[..., :, None] + torch.hypot(b[..., 3], b[..., 4])[..., None, :]
    distance = centre_distance_of_pairs(rows, columns)
    near = ~(distance > reach / 2)  # NaN stays, and gives NaN
    full = torch.zeros_like(distance)
    shape = (*near.shape, len(BOX))
    full[near] = of_pairs(rows.expand(shape)[near], columns.expand(shape)[near])
    return full


def _check(a: Tensor, b: Tensor, width: int) -> None:
    fits = a.ndim >= 2 and b.ndim >= 2 and a.shape[-1] == b.shape[-1] == width and a.shape[:-2] == b.shape[:-2]
    if not fits:
        raise ValueError(
            f"boxes have shapes {tuple(a.shape)} and {tuple(b.shape)}: needed (..., N, {width}) and (..., M, {width}) "
            "with the same leading axes."
        )
