"""The public causal convolution."""

from mambats_kernels.causal_conv.reference import causal_conv, causal_conv_step

__all__ = ["causal_conv", "causal_conv_step"]
