"""The last token of another stream: which, how old, and what it held."""

from mambats_kernels.hold.op import Held, hold, read_held

__all__ = ["Held", "hold", "read_held"]
