"""Whether a call is nothing but numbers: then it may go around torch's dispatcher, dearer than a small kernel."""

import torch
from torch import Tensor

_OWN = (Tensor, torch.nn.Parameter)


def untraced() -> bool:
    """Say whether there is no graph to trace, no transform, and no mode that wants to see every call."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
    )


def direct(tensors: tuple[Tensor | None, ...]) -> bool:
    """Say whether besides there is no tensor subclass to ask."""
    if not untraced():
        return False
    for v in tensors:  # a generator would take twice as long
        if v is not None and type(v) not in _OWN:
            return False
    return True


def taught(tensors: tuple[Tensor | None, ...]) -> bool:
    """Say whether a gradient will be asked of any of them."""
    if torch.is_grad_enabled():
        for v in tensors:
            if v is not None and v.requires_grad:
                return True
    return False


def plain(tensors: tuple[Tensor | None, ...]) -> bool:
    """Say whether nothing watches and no gradient will be asked: numbers in, numbers out."""
    return direct(tensors) and not taught(tensors)
