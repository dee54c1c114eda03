"""The public selective scan: checks, choice of back-end, and the chunked scan as differentiable operators of torch."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from mambats_kernels.backend import chosen_backend
from mambats_kernels.checks import looks_at, needs_gaps, needs_numbers
from mambats_kernels.eager import plain
from mambats_kernels.selective_scan import adjoint, chunked, reference
from mambats_kernels.selective_scan.arguments import check_scan, check_step
from mambats_kernels.selective_scan.cuda import cuda_scan, lane_scan
from mambats_kernels.selective_scan.cuda.limits import MOST_STATES as MOST_STATES
from mambats_kernels.selective_scan.cuda.limits import obstacle_to
from mambats_kernels.selective_scan.native import native_scan, native_step
from mambats_kernels.selective_scan.operators import Options
from mambats_kernels.selective_scan.plan import plan
from mambats_kernels.selective_scan.reference import Core
from mambats_kernels.selective_step.cuda.launch import cuda_step

scan_forward = torch.library.custom_op("mambats::selective_scan_forward", chunked.scan_forward, mutates_args=())
scan_backward = torch.library.custom_op("mambats::selective_scan_backward", adjoint.scan_backward, mutates_args=())


@scan_forward.register_fake
def _(
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    hold: bool,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    (batch, tokens, width), size = span.shape, B.shape[3]
    rows = batch if borders is None else borders.shape[1]
    saved = [0, batch]
    if save and isinstance(batch, int) and isinstance(tokens, int):
        cut = plan(span.device, batch, tokens, width * size)
        saved = [cut.blocks, batch * cut.runs, B.shape[2], size, width // B.shape[2]]
    elif save:
        saved = [torch.library.get_ctx().new_dynamic_size() for _ in range(5)]
    return span.new_empty(span.shape), span.new_empty((rows, width, size)), span.new_empty(saved)


@scan_backward.register_fake
def _(
    dy: Tensor,
    dfinal: Tensor,
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    hold: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = [v.new_empty(v.shape) for v in (span, u, A, B, C, dfinal)]
    return like[0], like[1], like[2], like[3], like[4], like[5]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    span, u, A, B, C, initial, borders, hold, reverse, _ = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
    ctx.save_for_backward(span, u, A, B, C, initial, borders, output[2])
    ctx.hold, ctx.reverse, ctx.final = hold, reverse, output[1].shape


def _backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    span, u, A, B, C, initial, borders, saved = ctx.saved_tensors
    dy = torch.zeros_like(span) if dy is None else dy
    dfinal = span.new_zeros(ctx.final) if dfinal is None else dfinal
    # Who calls backward inside autocast must get the same gradients.
    with torch.autocast(span.device.type, enabled=False):
        *slopes, first = scan_backward(
            dy, dfinal, span, u, A, B, C, initial, borders, saved, ctx.hold, ctx.reverse
        )  # fmt: skip
    return *slopes, None if initial is None else first, None, None, None, None


scan_forward.register_autograd(_backward, setup_context=_remember)


def chunked_scan(core: Core, hold: bool, reverse: bool) -> tuple[Tensor, Tensor]:
    """Run the resolved scan by the chunked operators: y (B, T, D) and the final states."""
    segment, borders = core.segment, None
    u = core.x if hold else core.delta * core.x
    if segment is not None:
        filled = segment.length > 0
        borders = torch.stack([torch.where(filled, edge, -1) for edge in (segment.enter, segment.leave)])
    needed = (core.span, u, core.A, core.B, core.C, core.initial)
    save = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in needed)
    y, final, _ = scan_forward(core.span, u, core.A, core.B, core.C, core.initial, borders, hold, reverse, save)
    if segment is not None and core.initial is not None:
        final = torch.where((segment.length > 0).view(-1, 1, 1), final, core.initial)
    return y, final


def _check_values(
    tokens: Mapping[str, Tensor | None], dt_bias: Tensor | None, gaps: Tensor | None, cu_seqlens: Tensor | None
) -> None:
    """Refuse NaN and negative gaps; behind packed sequences there may be anything."""
    if cu_seqlens is not None and looks_at(cu_seqlens):
        end = int(cu_seqlens[-1])
        tokens = {name: None if v is None else v[:, :end] for name, v in tokens.items()}
    if cu_seqlens is None or looks_at(cu_seqlens):
        needs_numbers({**tokens, "dt_bias": dt_bias})
    needs_gaps(gaps, cu_seqlens)


def _instead(problem: str) -> str:
    """The back-end that takes everything a GPU kernel cannot; says so once."""
    if not torch.compiler.is_compiling():
        warnings.warn(f"{problem}: torch operations run instead, slower.", RuntimeWarning, stacklevel=3)
    return "torch"


def _fused(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Who takes every option at once, under its back-end's name."""
    if backend == "native":
        return native_scan
    if backend == "cuda":
        return cuda_scan
    from mambats_kernels.selective_scan.triton import triton_scan  # lazily: it imports Triton

    return triton_scan


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
    """Scan a sequence with Mamba's input-dependent state-space model over regular or irregular time.

    With delta = softplus(dt + dt_bias) (or dt + dt_bias) and gap g, every channel walks
    h_t = exp(delta g A) h_{t-1} + w B x_t and gives y_t = (C h_t + D x_t) silu(z_t). The input's weight w is delta
    (an event: the published model at g = 1), or with `hold` the exact zero-order hold expm1(delta g A) / A.
    For one token at a time use `selective_step`.

    Args:
        x: Input, shape (B, T, D), float32, bfloat16, float16 or float64.
        dt: Step size before bias and softplus, shape (B, T, D), in units of the reference period.
        A: Rates, shape (D, N), negative, in units of 1 / reference period.
        B: Input weights, shape (B, T, N), or (B, T, G, N) for G groups of D / G neighbouring channels.
        C: Output weights, shape of B.
        D: Weight of the skip, shape (D,), or None for none.
        z: Gate before silu, shape (B, T, D), or None for none.
        dt_bias: Added to dt, shape (D,), or None.
        dt_softplus: Whether delta = softplus(dt + dt_bias); else dt + dt_bias must be >= 0.
        gaps: Time since the token before in reference periods, shape (B, T), >= 0; None means 1 everywhere.
        hold: Whether the input is held over the gap instead of being an event at its end.
        cu_seqlens: Borders of n packed sequences, shape (n+1,), int64 or int32, on the device of x, with B = 1. They
            never fall; sequences may be empty; tokens from cu_seqlens[-1] on are ignored and give 0.
        initial_state: State before the first token, shape (B, D, N), or (n, D, N) if packed; None for zeros.
        reverse: Whether to walk from the last token to the first. Token t then uses gaps[t+1] and the last token of a
            sequence uses 1; the initial state enters at the end and the final state leaves at the start.

    Returns:
        y of shape (B, T, D) in the dtype of x, and the final state of shape (B, D, N), or (n, D, N) if packed, in
        float32 (float64 for float64 input). Both can be differentiated with respect to every tensor but cu_seqlens.

    Raises:
        ValueError: If a shape, dtype or device does not fit; on a CPU or with MAMBATS_CHECK=1 also if x, dt, B, C or z
            holds NaN, a gap is negative or cu_seqlens falls.

    Example:
        x, dt, B, C = torch.randn(2, 9, 4), torch.rand(2, 9, 4), torch.randn(2, 9, 3), torch.randn(2, 9, 3)
        y, state = selective_scan(x, dt, -torch.ones(4, 3), B, C)
        more, state = selective_scan(x, dt, -torch.ones(4, 3), B, C, initial_state=state)

    Source: A. Gu and T. Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, section 3
    (equation 2, zero-order hold equation 4); the interface follows `selective_scan_ref` of state-spaces/mamba. Gaps,
    `hold` and packing are ours.
    """
    tensors, options = (
        (x, dt, A, B, C, D, z, dt_bias, gaps, initial_state, cu_seqlens),
        Options(dt_softplus, hold, reverse),
    )
    if (done := lane_scan(tensors, options)) is not None:
        return done
    check_scan(x, dt, A, B, C, D, z, dt_bias, gaps, cu_seqlens, initial_state)
    backend = "reference" if x.numel() == 0 else chosen_backend("selective_scan", x.device, x.dtype)
    if backend in ("cuda", "triton") and (problem := obstacle_to(x, A)):
        backend = _instead(problem)
    if backend in ("cuda", "native", "triton"):
        if looks_at(x):
            _check_values({"x": x, "dt": dt, "B": B, "C": C, "z": z}, dt_bias, gaps, cu_seqlens)
        # The CUDA path holds nothing that autocast would change, and entering a context costs as much as a launch.
        with nullcontext() if backend == "cuda" else torch.autocast(x.device.type, enabled=False):
            return _fused(backend)(
                x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps, hold=hold,
                cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse,
            )  # fmt: skip
    core = reference.resolve(
        x, dt, A, B, C, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps,
        cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse,
    )  # fmt: skip
    needs_numbers({"x": core.x, "dt": core.delta, "B": core.B, "C": core.C, "z": z if cu_seqlens is None else None})
    needs_gaps(gaps, cu_seqlens)
    # Autocast would round the states: the state's dtype is part of the contract.
    with torch.autocast(x.device.type, enabled=False):
        if backend == "reference":
            y, final = reference.scan_tokens(core, hold, reverse)
        else:
            y, final = chunked_scan(core, hold, reverse)
        return reference.finish(y, core, x.dtype, D, z), final


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
    """Advance `selective_scan` by one token, with the same numbers; in torch operations if gradients are taken.

    Args:
        x_t: Input, shape (B, D).
        dt_t: Step size before bias and softplus, shape (B, D).
        A: Rates, shape (D, N), negative.
        B_t: Input weights, shape (B, N) or (B, G, N).
        C_t: Output weights, shape of B_t.
        state: State before this token, shape (B, D, N); it is not changed in place.
        D: Weight of the skip, shape (D,), or None.
        z_t: Gate before silu, shape (B, D), or None.
        dt_bias: Added to dt_t, shape (D,), or None.
        dt_softplus: As in `selective_scan`.
        gap_t: Time since the token before in reference periods, shape (B,), >= 0; None means 1.
        hold: As in `selective_scan`.
        mask: True for rows that have a token, shape (B,) bool; the others keep their state and give 0. None: all.

    Returns:
        y_t of shape (B, D) in the dtype of x_t, and the state after this token, shape (B, D, N), float32 (float64 for
        float64 input).

    Raises:
        ValueError: If a shape, dtype or device does not fit.

    Example:
        x, dt, b, c = torch.randn(2, 4), torch.rand(2, 4), torch.randn(2, 3), torch.randn(2, 3)
        y, state = selective_step(x, dt, -torch.ones(4, 3), b, c, state=torch.zeros(2, 4, 3))

    Source: as `selective_scan`.
    """
    floats = (x_t, dt_t, A, B_t, C_t, state, D, z_t, dt_bias, gap_t)
    backend = chosen_backend("selective_scan", x_t.device, x_t.dtype)
    direct = backend in ("cuda", "native") and plain(floats)
    if not (direct and backend == "cuda"):  # that one checks by itself, and only what it has not seen
        check_step(x_t, dt_t, A, B_t, C_t, state, D, z_t, dt_bias, gap_t, mask)
    if direct:
        return (cuda_step if backend == "cuda" else native_step)(
            x_t, dt_t, A, B_t, C_t, state=state, D=D, z_t=z_t, dt_bias=dt_bias,
            dt_softplus=dt_softplus, gap_t=gap_t, hold=hold, mask=mask,
        )  # fmt: skip
    return reference.selective_step(
        x_t, dt_t, A, B_t, C_t, state=state, D=D, z_t=z_t, dt_bias=dt_bias,
        dt_softplus=dt_softplus, gap_t=gap_t, hold=hold, mask=mask,
    )  # fmt: skip
