"""The scan in both directions as its equation: the judge of the launch that does both."""

from torch import Tensor

from mambats_kernels.selective_scan import reference


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
    """Compute the scan of `mambats_kernels.bidirectional_scan` with plain, twice differentiable torch operations."""

    def scan(rates: Tensor, reverse: bool) -> Tensor:
        return reference.selective_scan(
            x, dt, rates, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps, hold=hold,
            cu_seqlens=cu_seqlens, reverse=reverse,
        )[0]  # fmt: skip

    return scan(A, False) + scan(A if A_reverse is None else A_reverse, True)
