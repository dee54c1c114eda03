"""Exact areas of two upright boxes seen from above: what they share, and the hull around both.

Nothing is sorted by angle and no case is told from another, so identical, touching and nested boxes are no special
cases: both areas are continuous in the boxes, and rounding moves them by some 1e-16 of their size.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

# Corners, counter-clockwise, in halves of length and width.
_ALONG = (1.0, -1.0, -1.0, 1.0)
_ACROSS = (1.0, 1.0, -1.0, -1.0)
# A corner before, one at, one behind: all 56 of eight.
_TRIPLES = torch.tensor(list(combinations(range(8), 3))).T


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
    return _flux(*_corners(a, b), b)


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
    return _hull(*_corners(a, b), b)


def shared_and_hull_area(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return `shared_area` and `hull_area`, (...) and (...), with the corners worked out once."""
    corners = _corners(a, b)
    return _flux(*corners, b), _hull(*corners, b)


def _corners(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y (..., 4) of the corners of a in the frame of b."""
    along, across = _halves(a)
    cos, sin = b[..., 6].cos(), b[..., 6].sin()
    ahead, left = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    x, y = ahead * cos + left * sin, left * cos - ahead * sin
    heading = (a[..., 6] - b[..., 6])[..., None]
    cos, sin = heading.cos(), heading.sin()
    return x[..., None] + along * cos - across * sin, y[..., None] + along * sin + across * cos


def _halves(box: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a box's corners lie along and across it, (..., 4), counter-clockwise."""
    along, across = (torch.tensor(signs, dtype=box.dtype, device=box.device) / 2 for signs in (_ALONG, _ACROSS))
    return box[..., 3, None] * along, box[..., 4, None] * across


def _flux(x: Tensor, y: Tensor, b: Tensor) -> Tensor:
    half_length, half_width = b[..., 3, None] / 2, b[..., 4, None] / 2
    x_next, y_next = x.roll(-1, -1), y.roll(-1, -1)
    low, high = _clamp(y, half_width), _clamp(y_next, half_width)
    rise = y_next - y
    slope = (x_next - x) / torch.where(rise == 0, torch.ones_like(rise), rise)
    return ((high - low) * _mean_clamped(x + slope * (low - y), x_next + slope * (high - y_next), half_length)).sum(-1)


def _hull(x: Tensor, y: Tensor, b: Tensor) -> Tensor:
    points = torch.stack([x, y], -2)
    points = torch.cat([points, torch.stack(_halves(b), -2).expand_as(points)], -1)
    x, order = points[..., 0, :].sort(-1)
    y = points[..., 1, :].gather(-1, order)
    before, at, behind = _TRIPLES.to(x.device)
    x_before, y_before, span = x[..., before], y[..., before], x[..., behind] - x[..., before]
    share = (x[..., at] - x_before) / torch.where(span == 0, torch.ones_like(span), span)
    chord = y_before + share * (y[..., behind] - y_before)
    column = at.expand(chord.shape)
    depth = y.scatter_reduce(-1, column, chord, "amax") - y.scatter_reduce(-1, column, chord, "amin")
    return (x.diff(dim=-1) * (depth[..., 1:] + depth[..., :-1])).sum(-1) / 2


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
