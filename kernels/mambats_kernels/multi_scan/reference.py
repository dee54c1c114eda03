"""The scan over streams as its definition: the equation's own scan of each stream in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats_kernels.selective_scan import reference


def multi_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    tokens: Sequence[int],
    cu_seqlens: Sequence[Tensor],
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gaps: Tensor | None = None,
    hold: bool = False,
    initial_state: Sequence[Tensor] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute `mambats_kernels.multi_scan` stream by stream; 0 in the tails."""
    outputs: list[Tensor] = []
    finals: list[Tensor] = []
    stop = 0
    for stream, length in enumerate(tokens):
        start, stop = stop, stop + length
        y, final = reference.selective_scan(
            x[:, start:stop], dt[:, start:stop], A, B[:, start:stop], C[:, start:stop], D=D,
            z=None if z is None else z[:, start:stop],
            dt_bias=dt_bias[stream] if dt_bias is not None and dt_bias.dim() == 2 else dt_bias,
            dt_softplus=dt_softplus, gaps=None if gaps is None else gaps[:, start:stop], hold=hold,
            cu_seqlens=cu_seqlens[stream], initial_state=None if initial_state is None else initial_state[stream],
            reverse=reverse,
        )  # fmt: skip
        outputs.append(y)
        finals.append(final)
    return torch.cat(outputs, 1), tuple(finals)
