"""Initialisation of diagonal state-space models: eigenvalues from HiPPO, step sizes from a log-uniform law.

Source: A. Gu, A. Gupta, K. Goel, C. Ré, "On the Parameterization and Initialization of Diagonal State Space
Models" (S4D), 2022, section 4; A. Gu, T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State
Spaces", 2023, section 3.6 and appendix; reference code: the repository state-spaces/mamba, `mamba_simple.py`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Spectrum = Literal["s4d_real", "s4d_lin"]

# Below this step a channel hardly moves within any context; the reference code clamps there too (`dt_init_floor`).
DT_FLOOR = 1e-4


def decay_rates(init: Spectrum, state_size: int) -> Tensor:
    """Return -A > 0 of one channel, shape (N,), float32, in 1 / (unit of the step size).

    `s4d_real` is A_n = -(n + 1): memories of many lengths. `s4d_lin` is the real part of S4D-Lin,
    A_n = -1/2 for every n: one length of memory, which the step sizes spread out.

    Raises:
        ValueError: If `init` is no known name or `state_size` is below 1.
    """
    if state_size < 1:
        raise ValueError(f"state_size is {state_size}: need at least 1.")
    if init == "s4d_real":
        return torch.arange(1, state_size + 1, dtype=torch.float32)
    if init == "s4d_lin":
        return torch.full((state_size,), 0.5)
    raise ValueError(f"init is {init!r}: choose one of {', '.join(get_args(Spectrum))}.")


def step_bias(channels: int, dt_min: float, dt_max: float) -> Tensor:
    """Return a bias b, shape (channels,), so that softplus(b) is log-uniform in [dt_min, dt_max].

    A step size is in reference periods: a state of rate a forgets within about 1 / (a * step) rows.

    Raises:
        ValueError: If not 0 < dt_min <= dt_max.
    """
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"dt_min is {dt_min}, dt_max {dt_max}: need 0 < dt_min <= dt_max.")
    low, high = math.log(dt_min), math.log(dt_max)
    step = torch.exp(torch.rand(channels) * (high - low) + low).clamp(min=DT_FLOOR)
    return step + torch.log(-torch.expm1(-step))  # the inverse of softplus


def exempt_from_decay(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """Mark a parameter that weight decay must leave alone: pulled to zero it would change what time means."""
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
