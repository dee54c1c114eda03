"""Pictures as torch's functions want them, and back: dtype, order of axes, rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, like

PLANES = (torch.uint8, torch.float32, torch.float64)


def as_tensor(images: Any) -> Tensor:
    """Return pictures (..., H, W, C) as a tensor of the same memory.

    Raises:
        ValueError: If they have another dtype or fewer axes; says what is there.
    """
    import numpy as np

    made = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["W", "C"]))
    if made.ndim < 3 or made.dtype not in PLANES:
        raise ValueError(
            f"images are {made.dtype} of shape {tuple(made.shape)}, needed uint8 or floats (..., H, W, C): write "
            "`image[..., None]` for grey ones."
        )
    return made


def on_planes(images: Batch, work: Callable[[Tensor], Tensor]) -> Batch:
    """Apply `work` to pictures laid out as (N, C, H, W); whole numbers come back rounded and clipped."""
    given = as_tensor(images)
    made = work(given.reshape(-1, *given.shape[-3:]).movedim(-1, 1))
    if given.dtype == torch.uint8 and made.dtype != torch.uint8:
        made = made.round().clamp(0, 255).byte()
    back = made.movedim(1, -1)
    return like(back.reshape(*given.shape[:-3], *back.shape[-3:]).contiguous(), images)
