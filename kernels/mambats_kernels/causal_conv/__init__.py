"""The short depthwise convolution before a scan, and one step of it."""

from mambats_kernels.causal_conv.op import causal_conv, causal_conv_step

__all__ = ["causal_conv", "causal_conv_step"]
