"""Hold as its definition, one token at a time: the judge of the parallel form."""

from __future__ import annotations

import torch
from torch import Tensor


def hold(
    stamps: Tensor, source_stamps: Tensor, *, ties: Tensor, source_mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Walk every target token (B, T) back over the source (B, S); returns index, age and found."""
    index, age = torch.zeros_like(stamps), torch.zeros_like(stamps)
    found = torch.zeros_like(stamps, dtype=torch.bool)
    for b in range(stamps.shape[0]):
        for t in range(stamps.shape[1]):
            for s in range(source_stamps.shape[1]):
                here = source_mask is None or bool(source_mask[b, s])
                passed = int(stamps[b, t] - source_stamps[b, s])
                if here and (passed > 0 or (passed == 0 and bool(ties[b, t]))):
                    index[b, t], age[b, t], found[b, t] = s, passed, True
    return index, age, found
