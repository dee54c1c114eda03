"""One selective scan over several streams of unequal length."""

from mambats_kernels.multi_scan.op import multi_scan, stream_borders

__all__ = ["multi_scan", "stream_borders"]
