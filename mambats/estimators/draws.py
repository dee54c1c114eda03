"""Random numbers as a function of a key that the state carries: going back to a state gives the same numbers again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio, odd, as a signed number
_FIRST, _SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
_TURN = 0x2545F4914F6CDD1D


def new_keys(batch: int, seed: int, generator: torch.Generator | None = None) -> Tensor:
    """Return one key a row, shape (B,) int64: from a generator, else from the seed and the number of the row."""
    if generator is None:
        return _mix(torch.arange(1, batch + 1) * _GOLDEN + _mix(torch.tensor(seed)))
    ends = (torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max)
    return torch.randint(*ends, (batch,), generator=generator, device=generator.device)


def next_keys(keys: Tensor) -> Tensor:
    """Return the keys after what was drawn from these."""
    return _mix(keys ^ _TURN)


def uniform(keys: Tensor, count: int) -> Tensor:
    """Return numbers inside (0, 1), shape (B, count) float64, rows independent, the same on any device.

    Source: SplitMix64, Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014, figure 16.
    """
    steps = torch.arange(1, count + 1, device=keys.device) * _GOLDEN
    bits = _shift(_mix(keys[:, None] + steps), 11)
    return (bits.to(torch.float64) + 0.5) * 2.0**-53


def normal(keys: Tensor, count: int, size: int) -> Tensor:
    """Return standard normal numbers, shape (B, count, size) float64."""
    even = uniform(keys, count * size).view(-1, count, size)
    return math.sqrt(2) * torch.erfinv(2 * even - 1)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """Scramble 64 bits, one to one."""
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    return bits ^ _shift(bits, 31)
