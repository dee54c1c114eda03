"""Functions of tensors for state-space models: no module, no trainer, no data frame."""

from mambats_kernels.bidirectional_scan import bidirectional_scan
from mambats_kernels.causal_conv import causal_conv, causal_conv_step
from mambats_kernels.hold import hold, read_held
from mambats_kernels.kalman import kalman_predict, kalman_step, kalman_update
from mambats_kernels.multi_scan import multi_scan
from mambats_kernels.selective_scan import selective_scan, selective_step

__all__ = [
    "bidirectional_scan",
    "causal_conv",
    "causal_conv_step",
    "hold",
    "kalman_predict",
    "kalman_step",
    "kalman_update",
    "multi_scan",
    "read_held",
    "selective_scan",
    "selective_step",
]
