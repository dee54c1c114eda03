"""What the arguments of the Kalman functions must look like."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats_kernels.checks import Named, needs_axes, needs_device, needs_mask, needs_shape, shown


def check_predict(x: Tensor, P: Tensor, F: Tensor, Q: Tensor, mask: Tensor | None) -> None:
    """Refuse arguments of `kalman_predict` that do not fit together."""
    if x.dim() == 2 and mask is None and _alike(x, P, F, Q):
        square, each = (x.shape[1], x.shape[1]), (*x.shape, x.shape[1])
        if P.shape == each and F.shape in (square, each) and Q.shape in (square, each):
            return
    _check_state(x, P)
    _same(x, {"F": F, "Q": Q})
    batch, n = x.shape
    _matrix("F", F, batch, n, n, "n, n")
    _matrix("Q", Q, batch, n, n, "n, n")
    needs_device(x.device, {"mask": mask})
    needs_mask(mask, batch)


def check_update(
    x: Tensor, P: Tensor, z: Tensor, H: Tensor, R: Tensor, mask: Tensor | None, gate: Tensor | None
) -> None:
    """Refuse arguments of `kalman_update` that do not fit together."""
    if x.dim() == 2 and z.dim() == 2 and gate is None and _alike(x, P, z, H, R):
        (batch, n), (rows, m) = x.shape, z.shape
        right = rows == batch and P.shape == (batch, n, n) and (H.shape == (m, n) or H.shape == (batch, m, n))
        right = right and (R.shape == (m, m) or R.shape == (batch, m, m))
        if right and (mask is None or (mask.is_cpu and mask.dtype is torch.bool and mask.shape == (batch,))):
            return
    _check_state(x, P)
    _same(x, {"z": z, "H": H, "R": R})
    batch, n = x.shape
    needs_axes("z", z, 2, "(B, m)")
    m = z.shape[1]
    needs_shape("z", z, (batch, m), "(B, m)", "give one measurement a row.")
    _matrix("H", H, batch, m, n, "m, n")
    _matrix("R", R, batch, m, m, "m, m")
    needs_device(x.device, {"mask": mask, "gate": gate})
    needs_mask(mask, batch)
    needs_shape("gate", gate, (m + 1,), "(m + 1,)", "give one threshold for each count of measured numbers.")


def _alike(x: Tensor, *others: Tensor) -> bool:
    """Whether all are float64, or all float32, on the CPU.

    What fits is seen so in 2 us, at most calls; in 5 to 7 us is said what does not, of a call of 25 to 50 us.
    """
    kind = x.dtype
    if not x.is_cpu or (kind is not torch.float64 and kind is not torch.float32):
        return False
    for one in others:  # a generator would take twice as long
        if one.dtype is not kind or not one.is_cpu:
            return False
    return True


def _check_state(x: Tensor, P: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x is {str(x.dtype)[6:]}, needed float32 or float64: cast it with x.float().")
    needs_axes("x", x, 2, "(B, n)")
    batch, n = x.shape
    _same(x, {"P": P})
    needs_shape("P", P, (batch, n, n), "(B, n, n)", "give one covariance a state; expand a shared one.")


def _same(x: Tensor, tensors: Named) -> None:
    """Refuse another device or dtype than x's."""
    needs_device(x.device, tensors)
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != x.dtype:
            raise ValueError(f"{name} is {str(tensor.dtype)[6:]}, x {str(x.dtype)[6:]}: cast {name} with .to(x.dtype).")


def _matrix(name: str, tensor: Tensor, batch: int, rows: int, columns: int, letters: str) -> None:
    if tuple(tensor.shape) not in ((rows, columns), (batch, rows, columns)):
        raise ValueError(
            f"{name} has shape {shown(tensor)}, needed ({letters}) = ({rows}, {columns}) or (B, {letters}) = "
            f"({batch}, {rows}, {columns}): give one for all states, or one a state."
        )
