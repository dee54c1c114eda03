"""CUDA kernels built at run time: NVRTC compiles, the driver loads and launches; no toolkit, no compiler, no header.

Binaries are kept under the user's cache folder. What a kernel may use beside plain CUDA C++ stands in device.cuh.
"""

from mambats_kernels.cuda.loader import load, obstacle, stream
from mambats_kernels.cuda.module import Kernel
from mambats_kernels.cuda.source import Source

__all__ = ["Kernel", "Source", "load", "obstacle", "stream"]
