"""A step from 0 to 1 over u = 0 to 1, four times differentiable: how bodies start, stop and turn without a jerk.

S(u) = 126 u^5 - 420 u^6 + 540 u^7 - 315 u^8 + 70 u^9, constant outside; S' = 630 u^4 (1 - u)^4.
"""

from __future__ import annotations

from torch import Tensor


def step(u: Tensor) -> Tensor:
    """S(u)."""
    u = u.clamp(0, 1)
    return u.pow(5) * (126 + u * (-420 + u * (540 + u * (-315 + u * 70))))


def step_rate(u: Tensor) -> Tensor:
    """S'(u)."""
    u = u.clamp(0, 1)
    return 630 * (u * (1 - u)).pow(4)


def step_bend(u: Tensor) -> Tensor:
    """S''(u)."""
    u = u.clamp(0, 1)
    return 2520 * (u * (1 - u)).pow(3) * (1 - 2 * u)


def step_integral(u: Tensor) -> Tensor:
    """The integral of S from 0 to u; beyond 1 it grows by u."""
    within = u.clamp(0, 1)
    full = within.pow(6) * (21 + within * (-60 + within * (67.5 + within * (-35 + within * 7))))
    return full + (u - 1).clamp_min(0)
