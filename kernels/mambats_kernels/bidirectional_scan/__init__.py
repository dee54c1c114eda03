"""The selective scan in both directions of time, added: one launch on a GPU."""

from mambats_kernels.bidirectional_scan.op import bidirectional_scan

__all__ = ["bidirectional_scan"]
