"""The selective scan in Triton: portable kernels, forward and backward, for GPUs where no CUDA kernel runs."""

from mambats_kernels.selective_scan.triton.op import obstacle, triton_scan

__all__ = ["obstacle", "triton_scan"]
