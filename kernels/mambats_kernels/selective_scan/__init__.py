"""Mamba's selective scan over irregular time, and one step of it."""

from mambats_kernels.selective_scan.op import selective_scan, selective_step

__all__ = ["selective_scan", "selective_step"]
