"""Smooth random functions of time with exact derivatives of any order: sums of sinusoids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Waves:
    """C functions of time for each of B draws: sum over k of c_k cos(w_k t) + s_k sin(w_k t).

    All channels of a draw share its frequencies, so that a sine and a cosine serve every channel and derivative.

    Args:
        frequency: w, shape (B, K), rad/s.
        cosine: c, shape (B, C, K).
        sine: s, shape (B, C, K).
    """

    frequency: Tensor
    cosine: Tensor
    sine: Tensor

    @classmethod
    def random(
        cls,
        batch: int,
        band: tuple[float, float],
        bounds: Sequence[Mapping[int, float]],
        generator: torch.Generator,
        waves: int = 8,
    ) -> Self:
        """Draw waves that keep within bounds at all times.

        Frequencies are drawn one from each of K equal parts of the logarithmic band.

        Args:
            batch: B.
            band: Lowest and highest frequency, Hz.
            bounds: For each channel the largest absolute value of some derivatives by order (0 is the function itself,
                -1 its integral). In the derivative of the highest order named, all frequencies are about as strong.
            generator: Source of all randomness; its device is where the waves live.
            waves: K.
        """
        device = generator.device
        low, high = (math.log(2 * math.pi * edge) for edge in band)
        part = torch.arange(waves, device=device) + torch.rand(
            (batch, waves), generator=generator, device=device, dtype=torch.float64
        )
        frequency = (low + (high - low) * part / waves).exp()
        shape = (2, batch, len(bounds), waves)
        pair = torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
        for channel, limits in enumerate(bounds):
            own = pair[:, :, channel] / frequency.pow(max(limits))
            strength = own.square().sum(0).sqrt()
            scale = [peak / (strength * frequency.pow(order)).sum(-1) for order, peak in limits.items()]
            pair[:, :, channel] = own * torch.stack(scale).amin(0)[:, None]
        return cls(frequency, pair[0], pair[1])

    def bound(self, order: int = 0) -> Tensor:
        """What the absolute value of a derivative can never exceed, shape (B, C)."""
        return ((self.cosine.square() + self.sine.square()).sqrt() * self.frequency[:, None].pow(order)).sum(-1)

    def __call__(self, t: Tensor, orders: tuple[int, ...] = (0,)) -> tuple[Tensor, ...]:
        """Derivatives of the given orders at times t (B, T) in seconds, each of shape (C, B, T).

        Raises:
            ValueError: If t has another shape.
        """
        batch = self.frequency.shape[0]
        if t.ndim != 2 or t.shape[0] != batch or t.dtype != torch.float64:
            raise ValueError(
                f"t is {t.dtype} of shape {tuple(t.shape)}, needed float64 seconds (B, T) with B = {batch}."
            )
        count = self.frequency.shape[1]
        basis = t.new_empty((batch, 2 * count, t.shape[1]))  # filled in place: cat took a fifth of the simulator's time
        angle = torch.mul(self.frequency[:, :, None], t[:, None, :], out=basis[:, count:])
        torch.cos(angle, out=basis[:, :count])
        angle.sin_()
        weights = torch.cat([self._weights(order) for order in orders], 1)
        made = (weights @ basis).movedim(1, 0)
        return made.split(self.cosine.shape[1])

    def _weights(self, order: int) -> Tensor:
        """Weights (B, C, 2K) of cosines and sines in a derivative: each order multiplies by w and turns a quarter."""
        turns = (
            (self.cosine, self.sine),
            (self.sine, -self.cosine),
            (-self.cosine, -self.sine),
            (-self.sine, self.cosine),
        )
        return torch.cat(turns[order % 4], -1) * self.frequency.repeat(1, 2)[:, None].pow(order)
