"""Whether a call may take the short way past torch's dispatcher, which costs more than a small kernel does."""

from collections.abc import Iterable

import torch
from torch import Tensor

_OWN = (Tensor, torch.nn.Parameter)


def eager(tensors: Iterable[Tensor | None]) -> bool:
    """Whether these are plain tensors of numbers, here and now: nothing compiles, traces, maps or watches.

    Args:
        tensors: What a kernel would read; None is passed over.

    Returns:
        False where a registered operator has to stand in the graph, or a subclass has a say.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False
    return all(v is None or type(v) in _OWN for v in tensors)


def taught(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a gradient of any of these is asked for."""
    return torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in tensors)
