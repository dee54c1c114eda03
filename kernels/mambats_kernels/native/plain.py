"""Whether a call is nothing but numbers, so that the library may be called behind torch's back."""

import torch
from torch import Tensor

_OWN = (Tensor, torch.nn.Parameter)


def untraced() -> bool:
    """Whether there is no graph to trace, no transform, and no mode that wants to see every call."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
    )


def plain(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether besides there is no gradient to take and no subclass to ask."""
    if not untraced():
        return False
    taught = torch.is_grad_enabled()
    return all(v is None or (type(v) in _OWN and not (taught and v.requires_grad)) for v in tensors)
