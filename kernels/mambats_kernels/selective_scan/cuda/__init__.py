"""The selective scan in CUDA C++, built at run time by NVRTC."""

from mambats_kernels.selective_scan.cuda.op import cuda_scan, lane_scan

__all__ = ["cuda_scan", "lane_scan"]
