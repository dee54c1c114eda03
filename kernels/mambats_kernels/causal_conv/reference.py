"""The short causal convolution as a sum of shifted copies: the judge of every faster version."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats_kernels.packed import Segments, blank_tail, segments


def compute_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 input, else float32, in which the taps are summed."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def activate(y: Tensor, activation: str | None) -> Tensor:
    """Apply silu, or nothing."""
    return F.silu(y) if activation == "silu" else y


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute the convolution of `mambats_kernels.causal_conv` with plain, twice differentiable torch operations."""
    taps, segment = weight.shape[1], None
    if cu_seqlens is None:
        lagged, final = dense_lags(x, taps, initial_state, reverse)
    else:
        segment = segments(cu_seqlens, x.shape[1], reverse)
        lagged = packed_lags(x, taps, initial_state, segment, reverse)
        final = packed_final(x, taps, initial_state, segment, reverse)
    dtype = compute_dtype(x)
    y = sum_taps(lagged, weight.to(dtype), dtype)
    y = y if bias is None else y + bias.to(dtype)
    y = activate(y, activation).to(x.dtype)
    return y if segment is None else blank_tail(y, segment), final


def sum_taps(lagged: list[Tensor], weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weigh the copies, lag 0 first, by the taps, last tap first."""
    y = lagged[0].to(dtype) * weight[:, -1]
    for lag in range(1, len(lagged)):
        y = y + lagged[lag].to(dtype) * weight[:, -1 - lag]
    return y


def dense_lags(x: Tensor, taps: int, initial: Tensor | None, reverse: bool) -> tuple[list[Tensor], Tensor]:
    """Give the inputs of 0 to W-1 tokens ago, each (B, T, D), and the final state (B, W-1, D)."""
    tokens = x.shape[1]
    line = dense_line(x, taps, initial, reverse)
    lagged = [line[:, taps - 1 - lag : taps - 1 - lag + tokens] for lag in range(taps)]
    return [v.flip(1) for v in lagged] if reverse else lagged, line[:, tokens:].clone()


def dense_line(x: Tensor, taps: int, initial: Tensor | None, reverse: bool) -> Tensor:
    """Put the past before the tokens, in walking order: (B, W-1+T, D)."""
    past = x.new_zeros((x.shape[0], taps - 1, x.shape[2])) if initial is None else initial.to(x.dtype)
    return torch.cat([past, x.flip(1) if reverse else x], 1)


def packed_line(x: Tensor, taps: int, initial: Tensor | None, rows: int) -> tuple[Tensor, int]:
    """Lay out all pasts, one row of zeros for what is in no sequence, then the tokens; and say where the zeros are."""
    width = x.shape[2]
    past = x.new_zeros((rows, taps - 1, width)) if initial is None else initial.to(x.dtype)
    return torch.cat([past.reshape(-1, width), x.new_zeros((1, width)), x[0]]), rows * (taps - 1)


def packed_lags(x: Tensor, taps: int, initial: Tensor | None, segment: Segments, reverse: bool) -> list[Tensor]:
    """Give the inputs of 0 to W-1 tokens ago within each sequence, each (1, T, D)."""
    line, nothing = packed_line(x, taps, initial, segment.length.shape[0])
    t = torch.arange(x.shape[1], device=x.device)
    lagged: list[Tensor] = []
    for lag in range(taps):
        token = nothing + 1 + (t + lag if reverse else t - lag)
        earlier = segment.row * (taps - 1) + taps - 1 + segment.place - lag
        index = torch.where(segment.place >= lag, token, earlier)
        index = torch.where(segment.inside, index, nothing).clamp(0, line.shape[0] - 1)  # wrong borders stay in range
        lagged.append(line[index].unsqueeze(0))
    return lagged


def packed_final(x: Tensor, taps: int, initial: Tensor | None, segment: Segments, reverse: bool) -> Tensor:
    """Give the last W-1 inputs of each sequence, its past included, oldest first: (n, W-1, D)."""
    rows = segment.length.shape[0]
    line, nothing = packed_line(x, taps, initial, rows)
    # Place of each kept input in [past; tokens] of its own sequence.
    slot = segment.length.unsqueeze(1) + torch.arange(taps - 1, device=x.device)
    back = segment.length.unsqueeze(1) + taps - 2 - slot
    token = nothing + 1 + (segment.leave.unsqueeze(1) + back if reverse else segment.leave.unsqueeze(1) - back)
    kept = torch.arange(rows, device=x.device).unsqueeze(1) * (taps - 1) + slot
    return line[torch.where(slot < taps - 1, kept, token).clamp(0, line.shape[0] - 1)]


def causal_conv_step(
    x_t: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor,
    activation: str | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advance one token: (B, D) in and out, with the last W-1 inputs (B, W-1, D) as the state."""
    dtype = compute_dtype(x_t)
    if mask is not None:
        x_t = torch.where(mask.unsqueeze(-1), x_t, torch.zeros_like(x_t))
    line = torch.cat([state.to(x_t.dtype), x_t.unsqueeze(1)], 1)
    y = (line.to(dtype) * weight.to(dtype).t()).sum(1)
    y = activate(y if bias is None else y + bias.to(dtype), activation).to(x_t.dtype)
    new = line[:, 1:]
    if mask is not None:
        new = torch.where(mask.view(-1, 1, 1), new, state.to(x_t.dtype))
        y = torch.where(mask.unsqueeze(-1), y, torch.zeros_like(y))
    return y, new
