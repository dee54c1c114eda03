"""What a noise encoder is shown of one measurement, once the filter has taken it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mambats.protocols import Innovation


class Features:
    """One row for a measurement of any stream.

    It holds which stream it was, each number of the residual in deviations, the logarithm of the mean square of the
    residual in deviations, whether it was let in, the logarithm of the seconds since the last measurement, and context.

    Args:
        sizes: Numbers of the residual by stream.
        context: Numbers of context.
    """

    def __init__(self, sizes: Mapping[str, int], context: int) -> None:
        self.names, self.widest = list(sizes), max(sizes.values())
        self.channels = len(self.names) + self.widest + 3 + context

    def __call__(self, stream: str, told: Innovation, age: Tensor, context: Tensor) -> Tensor:
        """Return rows (B, channels), each number within about +-5; no gradient reaches the filter through them."""
        batch, size = told.residual.shape
        which = told.nis.new_zeros(len(self.names))
        which[self.names.index(stream)] = 1
        deviation = told.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        # asinh: nearly linear to one deviation, a logarithm beyond: an outlier of 1e6 is a number like others.
        surprise = torch.asinh(told.residual / deviation)
        surprise = torch.nn.functional.pad(surprise, (0, self.widest - size))
        level = 0.5 * torch.log((told.nis / size).clamp(1e-4, 1e8))
        rest = torch.stack([level, told.used.to(level), torch.log(age.to(level) + 1e-2)], -1)
        made = torch.cat([which.expand(batch, -1), surprise, rest, context.to(level)], -1)
        return torch.where(made.isfinite(), made, 0.0).detach()
