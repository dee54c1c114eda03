"""When two tensors count as the same, and what is said when they are not."""

from __future__ import annotations

import torch
from torch import Tensor

#: Largest allowed difference as a share of the largest expected value.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def agree(law: str, given: Tensor, expected: Tensor, *, slack: float = 1.0) -> None:
    """Demand that two tensors agree to the tolerance of their dtype, relative to max|expected|.

    Args:
        law: The law that says they do; it opens the message.
        given: What came out.
        expected: What the law demands, same shape; flags and integers must be equal.
        slack: Factor on the tolerance.

    Raises:
        AssertionError: If shapes or dtypes differ, a value is not finite, or the difference is too large.
    """
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise AssertionError(
            f"{law}: got {given.dtype} {tuple(given.shape)}, need {expected.dtype} {tuple(expected.shape)}."
        )
    if not expected.numel():
        return
    if not expected.dtype.is_floating_point:
        if not torch.equal(given, expected):
            raise AssertionError(f"{law}: got {given.tolist()}, need {expected.tolist()}.")
        return
    if not (torch.isfinite(given).all() and torch.isfinite(expected).all()):
        raise AssertionError(f"{law}: a value is not finite.")
    error = (given - expected).abs().max().item()
    allowed = TOLERANCE[expected.dtype] * slack * expected.abs().max().item()
    if error > allowed:
        raise AssertionError(f"{law}: the largest difference is {error:.3g}, allowed {allowed:.3g}.")


def require(law: str, fact: bool, what: str) -> None:
    """Demand a fact.

    Raises:
        AssertionError: If it does not hold, saying which law it breaks and how.
    """
    if not fact:
        raise AssertionError(f"{law}: {what}.")
