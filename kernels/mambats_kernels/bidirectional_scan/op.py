"""The public scan in both directions: checks, and the choice between one launch and two calls."""

from torch import Tensor

from mambats_kernels.backend import chosen_backend
from mambats_kernels.bidirectional_scan.cuda import cuda_both, unfit
from mambats_kernels.checks import looks_at, needs_device, needs_floats, needs_shape
from mambats_kernels.selective_scan import selective_scan
from mambats_kernels.selective_scan.arguments import check_scan
from mambats_kernels.selective_scan.cuda.limits import obstacle_to
from mambats_kernels.selective_scan.op import _check_values


def bidirectional_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    A_reverse: Tensor | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gaps: Tensor | None = None,
    hold: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Scan a sequence from its first token to the last and from the last to the first, and add what both give.

    The sum of `selective_scan(x, dt, A, ...)[0]` and `selective_scan(x, dt, A_reverse, ..., reverse=True)[0]`, each
    with its skip and its gate. On a GPU one launch does both: nothing is flipped or copied, inputs are read where they
    lie.

    Args:
        x: Input, shape (B, T, D), float32, bfloat16, float16 or float64.
        dt: Step size before bias and softplus, shape (B, T, D), in units of the reference period.
        A: Rates of the walk forwards, shape (D, N), negative, in units of 1 / reference period.
        B: Input weights, shape (B, T, N), or (B, T, G, N) for G groups of D / G neighbouring channels.
        C: Output weights, shape of B.
        A_reverse: Rates of the walk backwards, shape of A; None ties them: A serves both and gets both gradients.
        D: Weight of the skip, shape (D,), or None for none. It counts once in each direction.
        z: Gate before silu, shape (B, T, D), or None for none.
        dt_bias: Added to dt, shape (D,), or None.
        dt_softplus: Whether delta = softplus(dt + dt_bias); else dt + dt_bias must be >= 0.
        gaps: Time since the token before in reference periods, shape (B, T), >= 0; None means 1 everywhere. Backwards
            token t uses gaps[t+1] and the last token of a sequence uses 1.
        hold: Whether the input is held over the gap instead of being an event at its end.
        cu_seqlens: Borders of n packed sequences, shape (n+1,), int64 or int32, on the device of x, with B = 1. They
            never fall; sequences may be empty; tokens from cu_seqlens[-1] on are ignored and give 0.

    Returns:
        y of shape (B, T, D) in the dtype of x: the two directions, each rounded to it, added. It can be differentiated
        with respect to every tensor but cu_seqlens. States neither enter nor leave: each direction needs the whole
        sequence.

    Raises:
        ValueError: If a shape, dtype or device does not fit; on a CPU or with MAMBATS_CHECK=1 also if x, dt, B, C or z
            holds NaN, a gap is negative or cu_seqlens falls.

    Example:
        x, dt, B, C = torch.randn(2, 9, 4), torch.rand(2, 9, 4), torch.randn(2, 9, 3), torch.randn(2, 9, 3)
        y = bidirectional_scan(x, dt, -torch.ones(4, 3), B, C, A_reverse=-2 * torch.ones(4, 3))

    Source: L. Zhu et al., Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model,
    2024, algorithm 1, with the convolution outside; the scan as `selective_scan`.
    """
    check_scan(x, dt, A, B, C, D, z, dt_bias, gaps, cu_seqlens, None)
    if A_reverse is not None:
        needs_floats({"A_reverse": A_reverse})
        needs_device(x.device, {"A_reverse": A_reverse})
        needs_shape("A_reverse", A_reverse, tuple(A.shape), "the shape of A", "or leave it out to tie it to A.")
    if x.numel() and chosen_backend("selective_scan", x.device, x.dtype) == "cuda":
        if obstacle_to(x, A) is None and unfit(x, dt, B, C, z, cu_seqlens) is None:
            if looks_at(x):
                _check_values({"x": x, "dt": dt, "B": B, "C": C, "z": z}, dt_bias, gaps, cu_seqlens)
            return cuda_both(
                x, dt, A, B, C, A_reverse=A_reverse, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps,
                hold=hold, cu_seqlens=cu_seqlens,
            )  # fmt: skip

    def scan(rates: Tensor, reverse: bool) -> Tensor:
        return selective_scan(
            x, dt, rates, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps, hold=hold,
            cu_seqlens=cu_seqlens, reverse=reverse,
        )[0]  # fmt: skip

    return scan(A, False) + scan(A if A_reverse is None else A_reverse, True)
