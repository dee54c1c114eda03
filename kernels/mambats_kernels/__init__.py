"""Functions of tensors for state-space models: no module, no trainer, no data frame."""

from mambats_kernels.bidirectional_scan import bidirectional_scan
from mambats_kernels.causal_conv import causal_conv, causal_conv_step
from mambats_kernels.selective_scan import selective_scan, selective_step

__all__ = ["bidirectional_scan", "causal_conv", "causal_conv_step", "selective_scan", "selective_step"]
