"""Every fusion encoder keeps every law, in both dtypes."""

import pytest
import torch

from mambats.encoders.fusion import EventFusion
from mambats.mixers import MIXERS
from mambats.testing.fusion import check_fusion_encoder

STREAMS = {"imu": 2, "gnss": 3, "ask": 0}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_event_fusion(dtype):
    check_fusion_encoder(
        lambda: EventFusion(STREAMS, 5, 2, period_ns=10_000_000, mixer=MIXERS["mamba"]), batch=2, rows=6, dtype=dtype
    )
