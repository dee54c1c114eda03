"""The public selective scan."""

from mambats_kernels.selective_scan.reference import selective_scan, selective_step

__all__ = ["selective_scan", "selective_step"]
