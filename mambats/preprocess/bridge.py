"""Arrays and tensors through the same code: numpy in, numpy out; tensor in, tensor out on its device."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: What is asked for and given back: an array of numpy or a tensor of torch.
Batch = TypeVar("Batch", npt.NDArray[Any], Tensor)


def tensor(given: npt.NDArray[Any] | Tensor) -> Tensor:
    """Return a tensor over the same memory; whole numbers become float64."""
    made = given if isinstance(given, Tensor) else torch.from_numpy(_writable(np.asarray(given)))
    return made if made.is_floating_point() else made.double()


def beside(given: npt.NDArray[Any] | Tensor | tuple[float, ...] | float, other: Tensor) -> Tensor:
    """Return a tensor of the dtype and device of another."""
    made = given if isinstance(given, Tensor) else torch.from_numpy(_writable(np.asarray(given, dtype=np.float64)))
    return made.to(other)


def like(made: Tensor, given: Batch) -> Batch:
    """Return a result as what was given: an array for an array, a tensor for a tensor."""
    return cast(Any, made if isinstance(given, Tensor) else made.detach().numpy())


def _writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # torch warns of memory that it must not write to, and takes no negative strides.
    usable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array if usable else array.copy()
