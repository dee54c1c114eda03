"""The benchmark's parts; `kernels/bench.py` runs them."""
