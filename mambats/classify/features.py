"""Fixed features of a case for linear classifiers: summary statistics, and random convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def summary(case: Tensor) -> Tensor:
    """Return mean, deviation, least, most, mean step and mean absolute step of each channel of case (T, C): (6 C,)."""
    steps = case.diff(dim=0) if len(case) > 1 else torch.zeros_like(case)
    deviation = case.std(0, unbiased=False)
    return torch.cat([case.mean(0), deviation, case.amin(0), case.amax(0), steps.mean(0), steps.abs().mean(0)])


class RandomConvolutions:
    """Random dilated kernels over random channels, read by their largest value and their share of positive values.

    Args:
        channels: C.
        length: Of the longest training case; dilations reach up to it.
        kernels: How many.
        seed: Of the kernels.

    Source: Dempster, Petitjean and Webb, ROCKET, 2020, section 3; several channels as in its multivariate code.
    """

    def __init__(self, channels: int, length: int, kernels: int = 500, seed: int = 0) -> None:
        self.channels, self.length, self.kernels, self.seed = channels, length, kernels, seed
        generator = torch.Generator().manual_seed(seed)

        def draw(size: int) -> Tensor:
            return torch.rand(size, generator=generator)

        self.taps = torch.tensor([7, 9, 11])[torch.randint(3, (kernels,), generator=generator)].tolist()
        reach = [max(0.0, math.log2(max(1.0, (length - 1) / (taps - 1)))) for taps in self.taps]
        self.dilations = [int(2 ** (u * r)) for u, r in zip(draw(kernels).tolist(), reach, strict=True)]
        self.padded = (draw(kernels) < 0.5).tolist()
        self.bias = draw(kernels) * 2 - 1
        self.weights: list[Tensor] = []
        for taps in self.taps:
            weight = torch.randn(channels, taps, generator=generator)
            chosen = torch.randperm(channels, generator=generator)
            weight[chosen[int(2 ** (draw(1) * math.log2(channels + 1))) :]] = 0
            self.weights.append(weight - weight.mean(1, keepdim=True))

    def __call__(self, case: Tensor) -> Tensor:
        """Return the features (2 * kernels,) of case (T, C)."""
        found: list[Tensor] = []
        x = case.T[None]
        for weight, bias, dilation, padded in zip(self.weights, self.bias, self.dilations, self.padded, strict=True):
            reach = (weight.shape[1] - 1) * dilation
            # A case shorter than the kernel is padded too: it still has to give a number.
            padding = reach // 2 if padded or reach >= x.shape[2] else 0
            padding = max(padding, -(-(reach + 1 - x.shape[2]) // 2))
            y = torch.nn.functional.conv1d(x, weight[None], bias[None], dilation=dilation, padding=padding)
            found += [y.amax(), (y > 0).to(y.dtype).mean()]
        return torch.stack(found)
