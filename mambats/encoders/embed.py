"""From a row of measurements to a token: values, which of them are missing, and how long ago the last row was."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Embedding(nn.Module):
    """Map values (..., C), flags of missing values and the logarithm of the gap linearly to tokens (..., width).

    One weight matrix with 2 C + 1 columns serves rows with and without flags and gaps: "all observed" and "gap 1"
    are zeros in their columns, so leaving them out and giving them trivially is the same, and no parameter is
    ever unused. A missing value counts as 0 plus what the model learns of its absence.

    Args:
        channels: Channels C of a row.
        width: Width of a token.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.width = width
        bound = 1 / math.sqrt(max(channels, 1))  # as nn.Linear on the values alone
        self.weight = nn.Parameter(torch.empty(width, 2 * channels + 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, x: Tensor, gaps: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
        """Embed x (..., C) with gaps (...) in reference periods and observed (..., C) bool; gives (..., width)."""
        c, columns = self.channels, [x]
        if observed is not None:
            columns = [torch.where(observed, x, torch.zeros_like(x)), (~observed).to(x.dtype)]
        token = F.linear(columns[0], self.weight[:, :c], self.bias)
        if observed is not None:
            token = token + F.linear(columns[1], self.weight[:, c : 2 * c])
        if gaps is not None:
            token = token + (log_gap(gaps).unsqueeze(-1) * self.weight[:, -1]).to(token.dtype)
        # Under autocast too the residual stream stays in the parameters' dtype, as published: norms keep their fused
        # kernels, which take one dtype, and small updates aren't rounded away.
        return token.to(self.weight.dtype)


def log_gap(gaps: Tensor) -> Tensor:
    """Return log((1 + gap) / 2): zero at the regular gap 1, finite at gap 0, slow after a long pause."""
    return torch.log1p(gaps) - math.log(2)


def check_rows(
    x: Tensor,
    channels: int,
    gaps: Tensor | None = None,
    observed: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    axes: str | None = None,
) -> None:
    """Refuse rows whose shapes or dtypes do not fit an encoder of `channels`.

    x is (B, T, C) or (B, C); `axes` is "B, T" or "B" where only that will do.

    Raises:
        ValueError: Naming what was given and what is needed.
    """
    if axes is not None and x.dim() != axes.count(",") + 2:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: need ({axes}, {channels}). Give forward a sequence and step a single row."
        )
    if x.shape[-1] != channels:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: this encoder reads {channels} channels on the last axis. "
            "Select the channels, or build the encoder for these."
        )
    if not x.dtype.is_floating_point:
        raise ValueError(f"x has dtype {x.dtype}: need a float dtype. Convert the values first.")
    for name, given, need in (
        ("gaps", gaps, x.shape[:-1]),
        ("observed", observed, x.shape),
        ("mask", mask, x.shape[:-1]),
    ):
        if given is not None and given.shape != need:
            raise ValueError(f"{name} has shape {tuple(given.shape)}, x {tuple(x.shape)}: need {tuple(need)}.")
    for name, flags in (("observed", observed), ("mask", mask)):
        if flags is not None and flags.dtype != torch.bool:
            raise ValueError(f"{name} has dtype {flags.dtype}: need torch.bool. Give {name} != 0 if it holds numbers.")
