"""A second-order low-pass in torch that takes rows in chunks, many at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class LowPassState(NamedTuple):
    """What a low-pass carries: rows seen, their sum (B, C) while few, and the filter's memory (B, 2, C)."""

    rows: int
    total: Tensor
    memory: Tensor


class LowPass:
    """Second-order Butterworth low-pass that starts as a running mean, so that its first output is its first input.

    For the first `tau` seconds the output is the mean of all rows so far; then the filter goes on from that mean as if
    it had been at rest there. A chunk is three matrix products: response to the memory, to the rows, and the memory
    after them.

    Args:
        tau: Time constant in seconds; the cut-off is sqrt(2) / (2 pi tau) Hz.
        rate: Rows a second.
        longest: Most rows taken at once.

    Source: Laidig and Seel, VQF: Highly Accurate IMU Orientation Estimation with Bias Estimation and Magnetic
        Disturbance Rejection, Information Fusion 2023, section 3.3 and appendix A.
    """

    def __init__(self, tau: float, rate: float, longest: int) -> None:
        self.mean_rows = max(1, round(tau * rate))
        warp = math.tan(math.pi * (math.sqrt(2) / (2 * math.pi * tau)) / rate)
        scale = warp * warp + math.sqrt(2) * warp + 1
        b = warp * warp / scale
        a1, a2 = 2 * (warp * warp - 1) / scale, (1 - math.sqrt(2) * warp + warp * warp) / scale
        self._gain = b
        move = torch.tensor([[-a1, 1.0], [-a2, 0.0]], dtype=torch.float64)
        into = torch.tensor([2 * b - a1 * b, b - a2 * b], dtype=torch.float64)
        self._rest = torch.tensor([1 - b, b - a2], dtype=torch.float64)  # memory when input and output are 1
        powers = [torch.eye(2, dtype=torch.float64)]
        for _ in range(longest):
            powers.append(powers[-1] @ move)
        self._powers = torch.stack(powers)  # (K + 1, 2, 2)
        self._out = self._powers[:, 0]  # (K + 1, 2): output by the memory, k rows on
        response = torch.cat([torch.tensor([b], dtype=torch.float64), self._out[:-1] @ into])
        lag = torch.arange(longest)[:, None] - torch.arange(longest)
        self._response = torch.where(lag >= 0, response[lag.clamp_min(0)], 0.0)  # (K, K)
        self._kept = (self._powers[:-1] @ into).flip(0)  # (K, 2): what a row leaves, the last row last

    def start(self, batch: int, channels: int, like: Tensor) -> LowPassState:
        """Return the state before any row, in the dtype and on the device of `like`."""
        return LowPassState(0, like.new_zeros(batch, channels), like.new_zeros(batch, 2, channels))

    def __call__(self, rows: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        """Filter rows (B, n, C), n at most `longest`; return rows of the same shape and the state after them."""
        young = min(max(self.mean_rows - state.rows, 0), rows.shape[1])
        if young == 0:
            return self._filter(rows, state)
        first, state = self._average(rows[:, :young], state)
        if young == rows.shape[1]:
            return first, state
        second, state = self._filter(rows[:, young:], state)
        return torch.cat([first, second], 1), state

    def _average(self, rows: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        """Return running means; the last of them fills the filter's memory."""
        sums = state.total[:, None] + rows.cumsum(1)
        count = torch.arange(state.rows + 1, state.rows + rows.shape[1] + 1).to(rows)
        means = sums / count[:, None]
        memory = means[:, -1:] * self._rest.to(rows)[:, None]
        return means, LowPassState(state.rows + rows.shape[1], sums[:, -1], memory)

    def _filter(self, rows: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        n = rows.shape[1]
        made = self._response[:n, :n].to(rows) @ rows + self._out[:n].to(rows) @ state.memory
        memory = self._powers[n].to(rows) @ state.memory + self._kept[-n:].to(rows).mT @ rows
        return made, LowPassState(state.rows + n, state.total, memory)
