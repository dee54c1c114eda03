"""The integral of a smooth velocity at any time, to rounding: quadrature once, polynomials afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

NODES = 8  # in one polynomial; 7 to 12 on 0.1 to 0.5 s all left 3e-12 m of a car's 7 km in 600 s, which is rounding
STEP = 0.2  # s that one polynomial covers


@dataclass(frozen=True)
class Path:
    """B paths of 3 coordinates, 0 at time 0: on each step a polynomial through the velocity at Gauss-Legendre nodes.

    Args:
        start: Time at which the first step begins, s.
        steps: Powers of the time within a step, shape (NODES + 1, 3, B, M), lowest first; the time runs from -1 to 1.
    """

    start: float
    steps: Tensor

    @classmethod
    def of(cls, velocity: Callable[[Tensor], Tensor], zero: Tensor, span: tuple[float, float]) -> Self:
        """Integrate a velocity over a span of time that holds 0.

        Each step's integral is exact where the velocity is a polynomial of degree `NODES` - 1, and the whole steps'
        where its degree is 2 `NODES` - 1.

        Args:
            velocity: Takes times (B, T) in seconds, gives (3, B, T) in m/s.
            zero: Time 0 of each path, shape (B, 1), on the device to use.
            span: First and last time, s.
        """
        begin = STEP * math.floor(span[0] / STEP)
        count = math.ceil((span[1] - begin) / STEP)
        nodes, weights, powers = _rule()
        (batch, _), device = zero.shape, zero.device
        middle = begin + STEP * (torch.arange(count, dtype=torch.float64, device=device) + 0.5)
        times = middle[:, None] + 0.5 * STEP * torch.from_numpy(nodes).to(device)
        speed = velocity(times.reshape(1, -1).expand(batch, -1)).unflatten(-1, (count, NODES))
        whole = 0.5 * STEP * (speed @ torch.from_numpy(weights).to(device))
        steps = 0.5 * STEP * torch.einsum("pn,cbmn->pcbm", torch.from_numpy(powers).to(device), speed)
        steps[0] += whole.cumsum(-1) - whole
        made = cls(begin, steps)
        steps[0] -= made(zero).movedim(-1, 0)
        return made

    def __call__(self, t: Tensor) -> Tensor:
        """Positions at times t (B, T) in seconds: shape (B, T, 3).

        Raises:
            ValueError: If a time lies outside the steps.
        """
        count = self.steps.shape[-1]
        place = (t - self.start) / STEP
        if t.numel() and (float(place.amin()) < 0 or float(place.amax()) > count):
            raise ValueError(
                f"times run from {float(t.amin()):.3f} to {float(t.amax()):.3f} s, the path is known from "
                f"{self.start:.3f} to {self.start + STEP * count:.3f} s: draw a trajectory of longer duration."
            )
        step = place.long().clamp(max=count - 1)
        within = 2 * (place - step) - 1
        step = step.expand(3, *step.shape)
        made = self.steps[-1].gather(-1, step)
        for power in range(NODES - 1, -1, -1):
            made = self.steps[power].gather(-1, step).addcmul_(made, within)
        return made.movedim(0, -1)


@lru_cache(maxsize=1)
def _rule() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [-1, 1]; and the powers of the integral from -1, from values at the nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    powers = np.zeros((NODES + 1, NODES))
    for node in range(NODES):
        lagrange = np.polynomial.Polynomial.fromroots(np.delete(nodes, node))
        powers[:, node] = (lagrange / lagrange(nodes[node])).integ(lbnd=-1).coef
    return nodes, weights, powers
