"""Encoders: rows of measurements (B, T, C) to tokens (B, T, width)."""

from mambats.encoders.causal import CausalEncoder, CausalState

__all__ = ["CausalEncoder", "CausalState"]
