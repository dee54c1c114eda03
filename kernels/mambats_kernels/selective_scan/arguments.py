"""What the arguments of the selective scan must look like."""

from torch import Tensor

from mambats_kernels.checks import (
    looks_at,
    needs_axes,
    needs_borders,
    needs_device,
    needs_floats,
    needs_mask,
    needs_shape,
    shown,
)
from mambats_kernels.eager import direct

MOST = 4096  # signatures that are remembered: checking one anew costs 40 us, as much as the launch of a small scan
_passed: set[tuple[object, ...]] = set()


def check_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    """Refuse arguments of `selective_scan` that do not fit together; what passed once is known by its shapes."""
    tensors = (x, dt, A, B, C, D, z, dt_bias, gaps, cu_seqlens, initial_state)
    # Borders are read on a CPU: they are looked at each time.
    if not direct(tensors) or (cu_seqlens is not None and looks_at(cu_seqlens)):
        _check_scan(*tensors)
        return
    seen = tuple([None if v is None else (v.shape, v.dtype, v.device) for v in tensors])
    if seen not in _passed:
        _check_scan(*tensors)
        if len(_passed) >= MOST:
            _passed.clear()
        _passed.add(seen)


def _check_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    needs_floats(
        {
            "x": x,
            "dt": dt,
            "A": A,
            "B": B,
            "C": C,
            "D": D,
            "z": z,
            "dt_bias": dt_bias,
            "gaps": gaps,
            "initial_state": initial_state,
        }
    )
    needs_device(
        x.device,
        {
            "dt": dt,
            "A": A,
            "B": B,
            "C": C,
            "D": D,
            "z": z,
            "dt_bias": dt_bias,
            "gaps": gaps,
            "cu_seqlens": cu_seqlens,
            "initial_state": initial_state,
        },
    )
    needs_axes("x", x, 3, "(B, T, D)")
    batch, tokens, width = x.shape
    size = _size(A, width)
    needs_shape("dt", dt, (batch, tokens, width), "(B, T, D) of x", "trim dt or align the stream first.")
    needs_shape("z", z, (batch, tokens, width), "(B, T, D) of x", "trim z or align the stream first.")
    needs_shape("gaps", gaps, (batch, tokens), "(B, T) of x", "give one gap a token.")
    _check_weights("B", B, (batch, tokens), size, width)
    _check_weights("C", C, (batch, tokens), size, width)
    needs_shape("C", C, tuple(B.shape), "the shape of B", "use the same groups for both.")
    _check_channels(D, dt_bias, width)
    rows, letters = batch, "(B, D, N)"
    if cu_seqlens is not None:
        needs_borders(cu_seqlens, x)
        rows, letters = cu_seqlens.shape[0] - 1, "(n, D, N)"
    needs_shape("initial_state", initial_state, (rows, width, size), letters, "give one state a sequence.")


def check_step(
    x_t: Tensor,
    dt_t: Tensor,
    A: Tensor,
    B_t: Tensor,
    C_t: Tensor,
    state: Tensor,
    D: Tensor | None,
    z_t: Tensor | None,
    dt_bias: Tensor | None,
    gap_t: Tensor | None,
    mask: Tensor | None,
) -> None:
    """Refuse arguments of `selective_step` that do not fit together."""
    needs_floats(
        {
            "x_t": x_t,
            "dt_t": dt_t,
            "A": A,
            "B_t": B_t,
            "C_t": C_t,
            "state": state,
            "D": D,
            "z_t": z_t,
            "dt_bias": dt_bias,
            "gap_t": gap_t,
        }
    )
    needs_device(
        x_t.device,
        {
            "dt_t": dt_t,
            "A": A,
            "B_t": B_t,
            "C_t": C_t,
            "state": state,
            "D": D,
            "z_t": z_t,
            "dt_bias": dt_bias,
            "gap_t": gap_t,
            "mask": mask,
        },
    )
    needs_axes("x_t", x_t, 2, "(B, D)")
    batch, width = x_t.shape
    size = _size(A, width)
    needs_shape("dt_t", dt_t, (batch, width), "(B, D) of x_t", "give the step size of this token.")
    needs_shape("z_t", z_t, (batch, width), "(B, D) of x_t", "give the gate of this token.")
    needs_shape("gap_t", gap_t, (batch,), "(B,)", "give one gap a row.")
    _check_weights("B_t", B_t, (batch,), size, width)
    _check_weights("C_t", C_t, (batch,), size, width)
    needs_shape("C_t", C_t, tuple(B_t.shape), "the shape of B_t", "use the same groups for both.")
    _check_channels(D, dt_bias, width)
    needs_shape("state", state, (batch, width, size), "(B, D, N)", "give one state a row; zeros start afresh.")
    needs_mask(mask, batch)


def _size(A: Tensor, width: int) -> int:
    """Read N from A (D, N)."""
    if A.dim() != 2 or A.shape[0] != width:
        raise ValueError(f"A has shape {shown(A)}, needed (D, N) with D = {width} of x: give a row of rates a channel.")
    return A.shape[1]


def _check_weights(name: str, weights: Tensor, leading: tuple[int, ...], size: int, width: int) -> None:
    """Refuse B or C that is neither (..., N) nor (..., G, N) with G dividing D."""
    axes = len(leading)
    fits = (
        weights.dim() in (axes + 1, axes + 2) and tuple(weights.shape[:axes]) == leading and weights.shape[-1] == size
    )
    if not fits:
        letters = "(B, T, N) or (B, T, G, N)" if axes == 2 else "(B, N) or (B, G, N)"
        raise ValueError(
            f"{name} has shape {shown(weights)}, needed {letters} with (B, T) or (B,) = {leading} of x and "
            f"N = {size} of A: trim or reshape {name}."
        )
    if weights.dim() == axes + 2 and (weights.shape[-2] == 0 or width % weights.shape[-2]):
        raise ValueError(
            f"{name} has G = {weights.shape[-2]} groups, needed G that divides D = {width}: change one of them."
        )


def _check_channels(D: Tensor | None, dt_bias: Tensor | None, width: int) -> None:
    """Refuse per-channel vectors that are not (D,)."""
    for name, vector in (("D", D), ("dt_bias", dt_bias)):
        needs_shape(name, vector, (width,), "(D,) of x", f"give one {name} a channel.")
