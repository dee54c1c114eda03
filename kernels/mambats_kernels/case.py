"""A case: what a family is tested and timed on, from a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Arguments = dict[str, Any]
Operation = Callable[..., tuple[Tensor, Tensor]]

# Relative error in the Frobenius norm against float64. One rounding to bfloat16 alone makes 1.7e-3.
TOLERANCE: Mapping[torch.dtype, float] = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-2}


@dataclass(frozen=True)
class Case:
    """One set of arguments for one public operation.

    Attributes:
        name: Unique, `family/what`.
        family: The folder, and the name that `mambats_kernels.backend` knows.
        make: Gives the keyword arguments for a seed, the dtype of the sequences, and a device.
        op: The public operation.
        reference: The same signature, the equation itself.
        tolerance: Largest relative error in the Frobenius norm per dtype, against the reference in float64.
    """

    name: str
    family: str
    make: Callable[[int, torch.dtype, torch.device], Arguments]
    op: Operation
    reference: Operation
    tolerance: Mapping[torch.dtype, float]


def generator(seed: int) -> torch.Generator:
    """A seeded generator on the CPU, so that every device gets the same numbers."""
    return torch.Generator().manual_seed(seed)


def borders(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Give cu_seqlens (n+1,) int64 for sequences of these lengths."""
    return torch.tensor([0, *lengths], device=device).cumsum(0)


def strided(x: Tensor) -> Tensor:
    """The same numbers laid out time first, so that nothing may count on contiguity: (B, T, ...)."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)
