"""Which forecasters the native library steps, and what it must know of them."""

from __future__ import annotations

from typing import Any

from mambats.bundle.flat import FlatForecaster
from mambats.encoders import CausalEncoder
from mambats.mixers.mamba import Mamba
from mambats.scale import RunningNorm


def layers_of(model: FlatForecaster) -> dict[str, Any] | None:
    """Return sizes and options for `mambats.bundle.native_file`, or None for a model it cannot take.

    Args:
        model: What is exported.
    """
    forecaster = model.model
    encoder, norm, head = forecaster.encoder, forecaster.norm, forecaster.head
    if type(encoder) is not CausalEncoder or encoder.no_mixer or not isinstance(norm, RunningNorm):
        return None
    blocks: list[Any] = list(encoder.blocks)
    if any(type(block.mixer) is not Mamba or block.mixer._s.time_invariant for block in blocks):
        return None
    return {
        "count": len(blocks),
        "width": encoder.width,
        "channels": encoder.channels,
        "hold": bool(blocks[0].mixer._s.hold),
        "eps": float(blocks[0].norm.eps),
        "mixing": forecaster.mixing,
        "half_life": norm.half_life,
        "norm_eps": norm.eps,
        "outputs": head.outputs,
        "middle": head.middle,
    }
