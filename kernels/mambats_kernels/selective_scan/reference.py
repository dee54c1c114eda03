"""The selective scan as its equation, one token after the other: the judge of every faster version."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats_kernels.packed import Segments, pad_row, segments


def state_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 input, else float32: a bfloat16 state drifts a thousand times more."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def grouped(b: Tensor) -> Tensor:
    """Read input or output weights as groups: (..., N) of a 3-d tensor becomes (B, T, 1, N)."""
    return b.unsqueeze(2) if b.dim() == 3 else b


def step_size(dt: Tensor, dt_bias: Tensor | None, dt_softplus: bool, dtype: torch.dtype) -> Tensor:
    """Give delta = softplus(dt + bias), shape of dt, in the state's dtype."""
    dt = dt.to(dtype)
    if dt_bias is not None:
        dt = dt + dt_bias.to(dtype)
    return F.softplus(dt) if dt_softplus else dt


def reversed_gaps(gaps: Tensor, segment: Segments | None) -> Tensor:
    """Give each token the gap to its successor, and 1 to the last token of a sequence: shape (B, T)."""
    following = torch.cat([gaps[:, 1:], torch.ones_like(gaps[:, :1])], 1)
    return following if segment is None else torch.where(segment.entry, torch.ones_like(following), following)


def hold_weight(span: Tensor, a: Tensor) -> Tensor:
    """Give expm1(span * a) / a, the exact weight of an input held over `span`; tends to `span` as a * span -> 0.

    Near zero a series replaces the quotient, whose derivatives cancel there: 9 terms leave 3e-17 at |a * span| = 0.1.
    """
    z = span * a
    near = z.abs() < 0.1
    safe = torch.where(near, torch.ones_like(z), z)
    small = torch.where(near, z, torch.zeros_like(z))
    series = torch.ones_like(z)
    for k in range(10, 1, -1):
        series = 1 + small * series / k
    return span * torch.where(near, series, torch.expm1(safe) / safe)


def gate(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    """Add the skip D * x and multiply by silu(z), all in the dtype of y."""
    if D is not None:
        y = y + D.to(y.dtype) * x.to(y.dtype)
    return y if z is None else y * F.silu(z.to(y.dtype))


def blank_tail(tokens: Tensor, segment: Segments) -> Tensor:
    """Put zeros behind the last sequence, so that whatever lies there reaches neither outputs nor gradients."""
    inside = segment.inside.view(1, -1, *([1] * (tokens.dim() - 2)))
    return torch.where(inside, tokens, torch.zeros_like(tokens))


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gaps: Tensor | None = None,
    hold: bool = False,
    cu_seqlens: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute the scan of `mambats_kernels.selective_scan` with plain, twice differentiable torch operations."""
    segment = None
    if cu_seqlens is not None:
        segment = segments(cu_seqlens, x.shape[1], reverse)
        x, dt, B, C = (blank_tail(tensor, segment) for tensor in (x, dt, B, C))
        z = None if z is None else blank_tail(z, segment)
        gaps = None if gaps is None else blank_tail(gaps, segment)
    dtype = state_dtype(x)
    delta = step_size(dt, dt_bias, dt_softplus, dtype)
    span = delta
    if gaps is not None:
        gaps = reversed_gaps(gaps, segment) if reverse else gaps
        span = delta * gaps.to(dtype).unsqueeze(-1)
    y, final = scan_tokens(
        x.to(dtype), delta, span, A.to(dtype), grouped(B).to(dtype), grouped(C).to(dtype),
        None if initial_state is None else initial_state.to(dtype), segment, hold, reverse,
    )  # fmt: skip
    return gate(y, x, D, z).to(x.dtype), final


def scan_tokens(
    x: Tensor,
    delta: Tensor,
    span: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    segment: Segments | None,
    hold: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Walk over the tokens: h = exp(span A) h + weight B x, y = C h; x, delta, span (B, T, D), B and C (B, T, G, N)."""
    batch, tokens, width = x.shape
    groups, size = B.shape[2:]
    rows = batch if segment is None else segment.length.shape[0]
    shape = (groups, width // groups, size)
    start = x.new_zeros((rows, *shape)) if initial is None else initial.reshape(rows, *shape)
    if tokens == 0:
        return torch.zeros_like(x), start.reshape(rows, width, size)
    a = A.view(shape)
    # unbind, never x[:, t]: the gradient of each such slice is a tensor of full length, quadratic in T.
    x_t, delta_t, span_t = (v.reshape(batch, tokens, *shape[:2], 1).unbind(1) for v in (x, delta, span))
    b_t, c_t = B.unsqueeze(3).unbind(1), C.unsqueeze(-1).unbind(1)
    enter = None if segment is None else pad_row(start)[segment.row].unsqueeze(1).unbind(0)
    entry = None if segment is None else segment.entry.unbind(0)
    h = start if segment is None else torch.zeros_like(x_t[0] * a)
    y: list[Tensor] = [h] * tokens
    states: list[Tensor] = [h] * tokens
    for t in reversed(range(tokens)) if reverse else range(tokens):
        if enter is not None and entry is not None:
            h = torch.where(entry[t], enter[t], h)
        weight = hold_weight(span_t[t], a) if hold else delta_t[t]
        h = torch.exp(span_t[t] * a) * h + weight * x_t[t] * b_t[t]
        y[t] = torch.matmul(h, c_t[t])
        states[t] = h
    final = h
    if segment is not None:
        final = torch.where(segment.length.view(-1, 1, 1, 1) > 0, torch.cat(states)[segment.leave], start)
    return torch.stack(y, 1).reshape(batch, tokens, width), final.reshape(rows, width, size)


def selective_step(
    x_t: Tensor,
    dt_t: Tensor,
    A: Tensor,
    B_t: Tensor,
    C_t: Tensor,
    *,
    state: Tensor,
    D: Tensor | None = None,
    z_t: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gap_t: Tensor | None = None,
    hold: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advance one token: the body of the scan's loop with (B, D) inputs and a state (B, D, N)."""
    dtype = state_dtype(x_t)
    if mask is not None:  # an absent row may hold NaN: it must reach neither the state nor any gradient
        x_t, dt_t = (torch.where(mask.unsqueeze(-1), v, torch.zeros_like(v)) for v in (x_t, dt_t))
        keep = mask.view(-1, *([1] * (B_t.dim() - 1)))
        B_t, C_t = (torch.where(keep, v, torch.zeros_like(v)) for v in (B_t, C_t))
        z_t = None if z_t is None else torch.where(mask.unsqueeze(-1), z_t, torch.zeros_like(z_t))
        gap_t = None if gap_t is None else torch.where(mask, gap_t, torch.zeros_like(gap_t))
    repeat = 1 if B_t.dim() == 2 else x_t.shape[-1] // B_t.shape[1]
    b, c = (v.unsqueeze(1) if v.dim() == 2 else v.repeat_interleave(repeat, 1) for v in (B_t.to(dtype), C_t.to(dtype)))
    a, old = A.to(dtype), state.to(dtype)
    delta = step_size(dt_t, dt_bias, dt_softplus, dtype).unsqueeze(-1)
    span = delta if gap_t is None else delta * gap_t.to(dtype).view(-1, 1, 1)
    weight = hold_weight(span, a) if hold else delta
    new = torch.exp(span * a) * old + (weight * x_t.to(dtype).unsqueeze(-1)) * b
    y = gate((new * c).sum(-1), x_t, D, z_t).to(x_t.dtype)
    if mask is not None:
        new = torch.where(mask.view(-1, 1, 1), new, old)
        y = torch.where(mask.unsqueeze(-1), y, torch.zeros_like(y))
    return y, new
