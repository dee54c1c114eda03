"""Checks at the border: shapes, dtypes and devices always, values where looking at them costs nothing."""

import os
from collections.abc import Mapping

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

Named = Mapping[str, Tensor | None]
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Read once, for the same reason as MAMBATS_BACKEND.
_forced = os.environ.get("MAMBATS_CHECK", "") not in ("", "0")


def shown(tensor: Tensor) -> str:
    """A shape as text, for messages."""
    return str(tuple(tensor.shape))


def needs_floats(tensors: Named) -> None:
    """Refuse a tensor whose dtype is not a float."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype not in FLOATS:
            raise ValueError(
                f"{name} is {str(tensor.dtype)[6:]}, needed float64, float32, bfloat16 or float16: "
                f"cast it with {name}.float()."
            )


def needs_device(device: torch.device, tensors: Named) -> None:
    """Refuse a tensor that is on another device than x."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device}, x on {device}: move {name} with .to(x.device).")


def needs_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...], letters: str, why: str) -> None:
    """Refuse a tensor of another shape; `letters` names the axes, `why` says what to do."""
    if tensor is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {shown(tensor)}, needed {letters} = {shape}: {why}")


def needs_axes(name: str, tensor: Tensor, axes: int, letters: str) -> None:
    """Refuse a tensor with another number of axes."""
    if tensor.dim() != axes:
        raise ValueError(f"{name} has shape {shown(tensor)}, needed {letters}: reshape or unsqueeze it.")


def needs_mask(mask: Tensor | None, batch: int) -> None:
    """Refuse a row mask that is not (B,) bool."""
    if mask is not None and (mask.dim() != 1 or mask.shape[0] != batch or mask.dtype != torch.bool):
        raise ValueError(
            f"mask is {str(mask.dtype)[6:]} of shape {shown(mask)}, needed bool of shape (B,) = ({batch},): "
            "say for each row whether it has a token."
        )


def needs_borders(cu_seqlens: Tensor, x: Tensor) -> None:
    """Refuse cu_seqlens that cannot be borders of packed sequences in x (1, T, D)."""
    if x.shape[0] != 1:
        raise ValueError(
            f"x has shape {shown(x)} together with cu_seqlens, packed sequences need (1, T, D): "
            "lay the rows behind one another, or leave cu_seqlens out."
        )
    if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 1 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"cu_seqlens is {str(cu_seqlens.dtype)[6:]} of shape {shown(cu_seqlens)}, needed int64 or int32 of shape "
            "(n+1,) for n sequences: give the cumulative lengths with a leading 0."
        )
    if looks_at(cu_seqlens):
        first, last = int(cu_seqlens[0]), int(cu_seqlens[-1])
        if first != 0 or last > x.shape[1] or bool((cu_seqlens.diff() < 0).any()):
            raise ValueError(
                f"cu_seqlens is {cu_seqlens.tolist()[:20]}, needed borders that start at 0, never fall and end at or "
                f"before T = {x.shape[1]}: give the cumulative lengths with a leading 0."
            )


def looks_at(tensor: Tensor) -> bool:
    """Whether values may be read: on a CPU or with MAMBATS_CHECK=1, and only if there are values."""
    if torch.compiler.is_compiling() or isinstance(tensor, FakeTensor) or tensor.is_meta or tensor.numel() == 0:
        return False
    return _forced or tensor.device.type == "cpu"


def needs_numbers(tensors: Named) -> None:
    """Refuse NaN, where values may be read; a sum finds it in one pass."""
    for name, tensor in tensors.items():
        if tensor is None or not looks_at(tensor) or not bool(tensor.detach().sum().isnan()):
            continue
        missing = tensor.detach().isnan()
        if bool(missing.any()):  # else infinities of both signs met in the sum
            place = tuple(int(k) for k in missing.nonzero()[0])
            raise ValueError(
                f"{name} holds {int(missing.sum())} NaN, the first at {place}, needed numbers: "
                "remove those tokens with a mask, or find what made them."
            )


def needs_gaps(gaps: Tensor | None, cu_seqlens: Tensor | None) -> None:
    """Refuse NaN and negative gaps before the tail of a packed batch, where values may be read."""
    if gaps is None or not looks_at(gaps):
        return
    gaps = gaps.detach()
    if cu_seqlens is not None:
        gaps = gaps[:, : int(cu_seqlens[-1])]
    if gaps.numel() and not float(gaps.min()) >= 0:
        place = tuple(int(k) for k in (~(gaps >= 0)).nonzero()[0])
        raise ValueError(
            f"gaps is {float(gaps[place])} at {place}, needed times since the token before, >= 0: "
            "sort the tokens by time, and give a fresh sequence the gap 1."
        )
