"""What the CUDA kernels can do on a device, and what they leave to others."""

from functools import cache

import torch
from torch import Tensor

from mambats_kernels.selective_scan.cuda.geometry import Shape, backward_shared, forward_shared

MOST_STATES = 256
# Up to here every GPU from compute capability 8.0 on has the shared memory: 69 KiB of at least 99.
ALWAYS = 64


@cache
def _room(device: int) -> int:
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


def obstacle_to(x: Tensor, A: Tensor) -> str | None:
    """Say what keeps the kernels from a scan with x (B, T, D) and A (D, N); None if nothing does."""
    states = A.shape[1]
    if states <= ALWAYS:
        return None
    if states > MOST_STATES:
        return f"A has N = {states} states, GPU kernels take up to {MOST_STATES}"
    shape = Shape(1, 1024, 1024, 1, states, x.element_size())
    needed = max(forward_shared(shape, 16, False), backward_shared(shape, x.dtype == torch.float32))
    room = _room(x.device.index or 0)
    if needed > room:
        return f"N = {states} states need {needed} bytes of shared memory in the GPU kernels, the device has {room}"
    return None
