"""The causal convolution on NVIDIA's GPUs: CUDA C++ built at run time."""

from mambats_kernels.causal_conv.cuda.op import cuda_conv, takes

__all__ = ["cuda_conv", "takes"]
