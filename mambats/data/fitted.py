"""What a checkpoint keeps of the data it was trained on: scalers and calendar, as tensors and plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mambats.data.prepare import Scalers
from mambats.scale import Scaler

PARTS = ("target", "past", "future", "static")


def to_state(scalers: Scalers, period_ns: int, calendar: Sequence[str]) -> dict[str, Any]:
    """Return scalers, reference period and calendar in a form that is read with `weights_only=True`."""
    kept = {part: scaler for part in PARTS if (scaler := getattr(scalers, part)) is not None}
    return {
        "period_ns": period_ns,
        "calendar": list(calendar),
        **{
            part: {"channels": list(s.channels), "mean": s.mean.clone(), "scale": s.scale.clone()}
            for part, s in kept.items()
        },
    }


def from_state(state: Mapping[str, Any]) -> Scalers:
    """Return the scalers that `to_state` wrote."""
    target = _scaler(state["target"])
    if target is None:
        raise ValueError("the state holds no scaler of the targets: it was not written by a data module.")
    return Scalers(target, *(_scaler(state.get(part)) for part in PARTS[1:]))


def _scaler(state: Mapping[str, Any] | None) -> Scaler | None:
    if state is None:
        return None
    scaler = Scaler(tuple(state["channels"]))
    scaler.mean.copy_(state["mean"])
    scaler.scale.copy_(state["scale"])
    return scaler
