"""A kernel that takes exponentials and nothing else; imported only where there is Triton."""
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# Triton refuses annotations that are not its own.

import triton
import triton.language as tl

LANES = 1024
TURNS = 2048


@triton.jit
def powers(out, turns):
    """Replace each value v by 2^-v again and again: it stays between 0.5 and 1, and no lane waits for another."""
    place = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    value = tl.load(out + place)
    for _ in range(turns):
        value = tl.exp2(-value)
    tl.store(out + place, value)
