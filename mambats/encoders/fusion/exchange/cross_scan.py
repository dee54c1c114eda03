"""Cross selective scan: a stream's own state is read out through what the other streams ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard
from mambats.mixers.hippo import decay_rates, exempt_from_decay, step_bias
from mambats_kernels import selective_scan, selective_step


class CrossState(NamedTuple):
    """What one stream's cross scan carries.

    Attributes:
        ssm: Shape (B, D, N), float32 (float64 in a float64 model).
    """

    ssm: Tensor


@dataclass(frozen=True)
class CrossScanSettings(ExchangeSettings):
    """Settings of a cross scan.

    Args:
        state_size: States a channel, N.
        dt_min: Smallest step size at the start, in reference periods.
        dt_max: Largest step size at the start, in reference periods.
    """

    state_size: int = 16
    dt_min: float = 1e-3
    dt_max: float = 0.1

    def build(self, streams: int, width: int) -> CrossScan:
        """Make a cross scan."""
        return CrossScan(streams, width, self)


class _Lane(nn.Module):
    """What one stream's cross scan is made of: step sizes, input and output weights from its tokens, and a way out."""

    def __init__(self, streams: int, width: int, settings: CrossScanSettings) -> None:
        super().__init__()
        size = settings.state_size
        self.select = nn.Linear(width, width + 2 * size, bias=False)
        self.dt_bias = exempt_from_decay(nn.Parameter(step_bias(width, settings.dt_min, settings.dt_max)))
        rates = decay_rates("s4d_real", size).expand(width, -1)
        self.A_log = exempt_from_decay(nn.Parameter(torch.log(rates).clone()))
        self.D = exempt_from_decay(nn.Parameter(torch.ones(width)))
        self.out = nn.Linear(width, width, bias=False)
        # How much each stream's output weights count, its own last, and how that changes with age.
        self.trust = nn.Parameter(torch.zeros(streams))
        self.fade = nn.Parameter(torch.full((streams - 1,), -0.25))


class CrossScan(Exchange):
    """Scan a stream once more, with output weights C that come from the other streams.

    h <- exp(delta gap A) h + delta B x with delta, B of the stream itself; y = C h + D x, where C is the mean, weighed
    by trust and age, of its own and those that the others last said.

    Args:
        streams: Number of streams S.
        width: Width D of the tokens.
        settings: Of the scan.

    Source: Z. Wan et al., "Sigma: Siamese Mamba Network for Multi-Modal Semantic Segmentation", 2024, the cross Mamba
    block: each modality's scan is decoded by the C of the other. With more than two streams and ages, a weighted mean.
    """

    def __init__(self, streams: int, width: int, settings: CrossScanSettings) -> None:
        super().__init__()
        self.streams = streams
        self.width = width
        self.settings = settings
        self.said = settings.state_size
        self.lanes = nn.ModuleList(_Lane(streams, width, settings) for _ in range(streams))

    def _lane(self, stream: int) -> _Lane:
        return self.lanes[stream]  # type: ignore[return-value]

    def init_state(self, batch: int) -> CrossState:
        """Return zeros."""
        A = self._lane(0).A_log
        return CrossState(A.new_zeros((batch, *A.shape), dtype=torch.promote_types(A.dtype, torch.float32)))

    def say(self, stream: int, normal: Tensor) -> Tensor:
        """Return the output weights that a token of this stream asks for."""
        return F.linear(normal, self._lane(stream).select.weight[-self.said :])

    def weigh(self, stream: int, normal: Tensor, heard: Heard) -> Tensor:
        """Return the weights of the mean; they sum to 1."""
        lane, found = self._lane(stream), heard.ages.found
        logit = lane.trust[:-1] + lane.fade * heard.ages.log.to(lane.fade.dtype)
        own = lane.trust[-1].expand((*logit.shape[:-1], 1))
        return torch.cat([logit.masked_fill(~found, float("-inf")), own], -1).softmax(-1)

    def hear(self, stream: int, token: Tensor, normal: Tensor, heard: Heard) -> Tensor:
        """Refuse: a cross scan remembers, so it runs along time or steps.

        Raises:
            TypeError: Always.
        """
        raise TypeError("CrossScan.hear was called, it carries a state: need `run` or `step`.")

    def run(
        self,
        stream: int,
        tokens: tuple[Tensor, Tensor],
        heard: Heard,
        gaps: Tensor,
        cu_seqlens: Tensor,
        state: CrossState,
    ) -> tuple[Tensor, CrossState]:
        """Scan packed tokens (1, T, D)."""
        token, normal = tokens
        lane, (dt, B, C) = self._lane(stream), self._select(stream, normal, heard)
        y, ssm = selective_scan(
            normal, dt, self._decay(lane), B, C, D=lane.D, dt_bias=lane.dt_bias, dt_softplus=True, gaps=gaps,
            cu_seqlens=cu_seqlens, initial_state=state.ssm,
        )  # fmt: skip
        return token + lane.out(y), CrossState(ssm)

    def step(
        self,
        stream: int,
        tokens: tuple[Tensor, Tensor],
        heard: Heard,
        gap_t: Tensor,
        mask_t: Tensor | None,
        state: CrossState,
    ) -> tuple[Tensor, CrossState]:
        """Take one token (B, D)."""
        token, normal = tokens
        lane, (dt, B, C) = self._lane(stream), self._select(stream, normal, heard)
        y, ssm = selective_step(
            normal, dt, self._decay(lane), B, C, state=state.ssm, D=lane.D, dt_bias=lane.dt_bias, dt_softplus=True,
            gap_t=gap_t, mask=mask_t,
        )  # fmt: skip
        return token + lane.out(y), CrossState(ssm)

    def _select(self, stream: int, normal: Tensor, heard: Heard) -> tuple[Tensor, Tensor, Tensor]:
        """Return step sizes, input weights and the mean of output weights."""
        size = [self.width, self.said, self.said]
        dt, B, own = self._lane(stream).select(normal).split(size, -1)
        weights = self.weigh(stream, normal, heard).to(own.dtype)
        asked = torch.cat([heard.said, own.unsqueeze(-2)], -2)
        return dt, B, (weights.unsqueeze(-1) * asked).sum(-2)

    @staticmethod
    def _decay(lane: _Lane) -> Tensor:
        return -torch.exp(lane.A_log.to(torch.promote_types(lane.A_log.dtype, torch.float32)))
