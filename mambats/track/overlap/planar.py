"""Exact areas of two upright boxes seen from above: what they share, and the hull around both.

Nothing is sorted by angle and no case is told from another, so identical, touching and nested boxes are no special
cases: both areas are continuous in the boxes, and rounding moves them by some 1e-16 of their size.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Corners, counter-clockwise, in halves of length and width.
_ALONG = (1.0, -1.0, -1.0, 1.0)
_ACROSS = (1.0, 1.0, -1.0, -1.0)


def shared_area(a: Tensor, b: Tensor) -> Tensor:
    """Return the area that two boxes share, seen from above.

    In the frame of b, the field (clamp(x, -l/2, l/2) [|y| <= w/2], 0) has divergence 1 inside of b and 0 outside: by
    Gauss, the shared area is its flux through the four edges of a, each a clamped line that is integrated exactly.

    Args:
        a: Shape (..., 7), see `mambats.track.objects.BOX`, m and rad.
        b: Shape (..., 7), broadcast against `a`.

    Returns:
        Shape (...), m^2; differentiable.
    """
    a, b = torch.broadcast_tensors(a, b)
    x, y = _corners(a, a[..., :2] - b[..., :2], -b[..., 6])
    half_length, half_width = b[..., 3, None] / 2, b[..., 4, None] / 2
    x_next, y_next = x.roll(-1, -1), y.roll(-1, -1)
    low, high = _clamp(y, half_width), _clamp(y_next, half_width)
    rise = y_next - y
    slope = (x_next - x) / torch.where(rise == 0, torch.ones_like(rise), rise)
    return ((high - low) * _mean_clamped(x + slope * (low - y), x_next + slope * (high - y_next), half_length)).sum(-1)


def hull_area(a: Tensor, b: Tensor) -> Tensor:
    """Return the area of the convex hull of both boxes, seen from above.

    The eight corners in order of x part the hull into trapezia; its upper edge at a corner is the highest chord
    between one corner before and one behind.

    Args:
        a: Shape (..., 7).
        b: Shape (..., 7), broadcast against `a`.

    Returns:
        Shape (...), m^2; differentiable.
    """
    a, b = torch.broadcast_tensors(a, b)
    still = torch.zeros_like(a[..., 6])
    corners = [_corners(a, a[..., :2] - b[..., :2], still), _corners(b, torch.zeros_like(b[..., :2]), still)]
    x, order = torch.cat([one[0] for one in corners], -1).sort(-1)
    y = torch.cat([one[1] for one in corners], -1).gather(-1, order)
    top, bottom = [y[..., 0]], [y[..., 0]]
    for k in range(1, 8):
        before_x, before_y = x[..., :k, None], y[..., :k, None]
        behind_x, behind_y = x[..., None, k:], y[..., None, k:]
        span = behind_x - before_x
        share = (x[..., k, None, None] - before_x) / torch.where(span == 0, torch.ones_like(span), span)
        chords = (before_y + share * (behind_y - before_y)).flatten(-2)
        top.append(torch.maximum(chords.amax(-1), y[..., k]))
        bottom.append(torch.minimum(chords.amin(-1), y[..., k]))
    depth = torch.stack(top, -1) - torch.stack(bottom, -1)
    return (x.diff(dim=-1) * (depth[..., 1:] + depth[..., :-1])).sum(-1) / 2


def _corners(box: Tensor, centre: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y (..., 4) of a box's corners, its centre moved to `centre` (..., 2), then turned about 0."""
    along, across = (torch.tensor(signs, dtype=box.dtype, device=box.device) / 2 for signs in (_ALONG, _ACROSS))
    cos, sin = turn.cos(), turn.sin()
    middle_x = centre[..., 0] * cos - centre[..., 1] * sin
    middle_y = centre[..., 0] * sin + centre[..., 1] * cos
    heading = (box[..., 6] + turn)[..., None]
    length, width = box[..., 3, None] * along, box[..., 4, None] * across
    cos, sin = heading.cos(), heading.sin()
    return middle_x[..., None] + length * cos - width * sin, middle_y[..., None] + length * sin + width * cos


def _clamp(value: Tensor, reach: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, -reach), reach)


def _mean_clamped(begin: Tensor, end: Tensor, reach: Tensor) -> Tensor:
    """Return the mean over a line from `begin` to `end` of its value clamped to [-reach, reach].

    Written so that nothing is divided by a small difference without being multiplied by one.
    """
    first, last = _clamp(begin, reach), _clamp(end, reach)
    span = end - begin
    inside = (last - first) / torch.where(span == 0, torch.ones_like(span), span)
    return (first + last) / 2 + inside * ((end - last) + (begin - first)) / 2
