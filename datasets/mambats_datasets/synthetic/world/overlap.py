"""Do rectangles on the ground overlap? By the separating axes of two oriented rectangles."""

from __future__ import annotations

from torch import Tensor

Rectangles = tuple[Tensor, Tensor, Tensor]  # centres (..., N, 2), sizes (..., N, 2), m, and yaws (..., N), rad


def overlap(first: Rectangles, second: Rectangles, margin: float) -> Tensor:
    """Whether each of N rectangles comes within `margin` metres, about, of each of M.

    Args:
        first: Centres (..., N, 2), sizes (..., N, 2) and yaws (..., N), metres and rad.
        second: The same of M.
        margin: Added to every half size, metres.

    Returns:
        Shape (..., N, M) bool. Two convex figures are apart if and only if one of their sides' axes parts them
        (Gottschalk et al., OBBTree, SIGGRAPH 1996, in two dimensions).
    """
    (place, size, yaw), (place2, size2, yaw2) = first, second
    away = place2[..., None, :, :] - place[..., :, None, :]  # (..., N, M, 2)
    turn = yaw2[..., None, :] - yaw[..., :, None]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    half, half2 = size[..., :, None, :] / 2 + margin, size2[..., None, :, :] / 2
    apart = _apart(away, yaw[..., :, None], half, half2, cos, sin)
    return ~(apart | _apart(away, yaw2[..., None, :], half2, half, cos, sin))


def _apart(away: Tensor, yaw: Tensor, own: Tensor, other: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Whether an axis of the rectangle with `yaw` parts the two."""
    c, s = yaw.cos(), yaw.sin()
    along = (c * away[..., 0] + s * away[..., 1]).abs() > own[..., 0] + other[..., 0] * cos + other[..., 1] * sin
    beside = (c * away[..., 1] - s * away[..., 0]).abs() > own[..., 1] + other[..., 0] * sin + other[..., 1] * cos
    return along | beside
