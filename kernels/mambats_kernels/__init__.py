"""Functions of tensors for state-space models: no module, no trainer, no data frame."""

from mambats_kernels.causal_conv import causal_conv, causal_conv_step
from mambats_kernels.selective_scan import selective_scan, selective_step

__all__ = ["causal_conv", "causal_conv_step", "selective_scan", "selective_step"]
