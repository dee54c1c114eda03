"""The selective scan as its equation, one token after the other: the judge of every faster version."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats_kernels.packed import Segments, blank_tail, pad_row, segments


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


class Core(NamedTuple):
    """What is left of the arguments once options are resolved, all in the state's dtype.

    Attributes:
        x: Input, shape (B, T, D).
        delta: Step size after bias and softplus, shape (B, T, D).
        span: delta times gap, the exponent's time, shape (B, T, D).
        A: Shape (D, N).
        B: Shape (B, T, G, N).
        C: Shape (B, T, G, N).
        initial: Shape (rows, D, N), or None for zeros.
        segment: Layout of packed sequences, or None.
    """

    x: Tensor
    delta: Tensor
    span: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    initial: Tensor | None
    segment: Segments | None


def resolve(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    gaps: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> Core:
    """Turn options into numbers: step sizes, gaps as the direction sees them, the tail of a packed batch blanked."""
    segment = None
    if cu_seqlens is not None:
        segment = segments(cu_seqlens, x.shape[1], reverse)
        x, dt, B, C = (blank_tail(tensor, segment) for tensor in (x, dt, B, C))
        gaps = None if gaps is None else blank_tail(gaps, segment)
    dtype = state_dtype(x)
    delta = step_size(dt, dt_bias, dt_softplus, dtype)
    span = delta
    if gaps is not None:
        gaps = reversed_gaps(gaps, segment) if reverse else gaps
        span = delta * gaps.to(dtype).unsqueeze(-1)
    initial = None if initial_state is None else initial_state.to(dtype)
    B, C = grouped(B).to(dtype), grouped(C).to(dtype)
    return Core(x.to(dtype), delta, span, A.to(dtype), B, C, initial, segment)


def finish(y: Tensor, core: Core, dtype: torch.dtype, D: Tensor | None, z: Tensor | None) -> Tensor:
    """Skip and gate the scan's output, and hand it on in the input's dtype, shape (B, T, D)."""
    if z is not None and core.segment is not None:
        z = blank_tail(z, core.segment)
    return gate(y, core.x, D, z).to(dtype)


def scan_tokens(core: Core, hold: bool = False, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Walk over the tokens: h = exp(span A) h + weight B x, y = C h; gives y (B, T, D) and the final state."""
    (batch, tokens, width), segment = core.x.shape, core.segment
    groups, size = core.B.shape[2:]
    rows = batch if segment is None else segment.length.shape[0]
    shape = (groups, width // groups, size)
    start = core.x.new_zeros((rows, *shape)) if core.initial is None else core.initial.reshape(rows, *shape)
    if tokens == 0:
        return torch.zeros_like(core.x), start.reshape(rows, width, size).clone()
    a, on_cpu = core.A.view(shape), core.x.device.type == "cpu"
    # unbind, never x[:, t]: the gradient of each such slice is a tensor of full length, quadratic in T.
    channels = (v.reshape(batch, tokens, *shape[:2], 1).unbind(1) for v in (core.x, core.delta, core.span))
    x, delta, span = channels
    b, c = core.B.unsqueeze(3).unbind(1), core.C.unsqueeze(-1).unbind(1)
    h = start if segment is None else torch.zeros_like(x[0] * a)
    enter = None if segment is None else pad_row(start)[segment.row].unsqueeze(1).unbind(0)
    entry = None if segment is None else segment.entry.unbind(0)
    y: list[Tensor] = [h] * tokens
    states: list[Tensor] = [h] * tokens
    for t in reversed(range(tokens)) if reverse else range(tokens):
        if enter is not None and entry is not None:
            h = torch.where(entry[t], enter[t], h)
        weight = hold_weight(span[t], a) if hold else delta[t]
        h = torch.exp(span[t] * a) * h + weight * x[t] * b[t]
        # Elsewhere than on a CPU a matrix product may round to TF32, if the process allows it.
        y[t] = torch.matmul(h, c[t]) if on_cpu else (h * c[t].mT).sum(-1, keepdim=True)
        states[t] = h
    if segment is not None:
        h = torch.where(segment.length.view(-1, 1, 1, 1) > 0, torch.cat(states)[segment.leave], start)
    return torch.stack(y, 1).reshape(batch, tokens, width), h.reshape(rows, width, size)


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
    core = resolve(
        x, dt, A, B, C, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps,
        cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse,
    )  # fmt: skip
    y, final = scan_tokens(core, hold, reverse)
    return finish(y, core, x.dtype, D, z), final


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
