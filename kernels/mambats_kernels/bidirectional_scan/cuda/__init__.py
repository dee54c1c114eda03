"""Both directions of the selective scan by one launch of the scan's CUDA kernels."""

from mambats_kernels.bidirectional_scan.cuda.op import cuda_both, unfit

__all__ = ["cuda_both", "unfit"]
