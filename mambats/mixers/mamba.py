"""The Mamba mixer: a gated selective state-space layer whose steps follow real time gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.mixers.hippo import Spectrum, decay_rates, exempt_from_decay, step_bias
from mambats.mixers.settings import MixerSettings
from mambats.protocols import Mixer
from mambats_kernels import causal_conv, causal_conv_step, selective_scan, selective_step


class MambaState(NamedTuple):
    """What a Mamba layer carries: the last inputs of its convolution and the state of its scan.

    Attributes:
        conv: Shape (B, max(conv_width - 1, 0), inner), oldest first.
        ssm: Shape (B, inner, N), float32 (float64 in a float64 model).
    """

    conv: Tensor
    ssm: Tensor


@dataclass(frozen=True)
class MambaSettings(MixerSettings):
    """Settings of a Mamba mixer.

    Args:
        state_size: States a channel, N.
        expand: Inner channels a unit of width.
        conv_width: Taps of the causal convolution over tokens; 0 or 1 leaves it out.
        dt_rank: Rank of the step-size projection; None is ceil(width / 16), as published.
        dt_min: Smallest step size at the start, in reference periods.
        dt_max: Largest step size at the start, in reference periods.
        init: Decay rates at the start, see `mambats.mixers.hippo`.
        hold: Weigh an input as if held over its gap (exact zero-order hold) instead of as an event.
        time_invariant: Make step sizes and input and output weights parameters instead of projections of the
            input (then the layer is S4D with a gate); for laws and ablations.
    """

    state_size: int = 16
    expand: int = 2
    conv_width: int = 4
    dt_rank: int | None = None
    dt_min: float = 1e-3
    dt_max: float = 0.1
    init: Spectrum = "s4d_real"
    hold: bool = False
    time_invariant: bool = False

    def build(self, width: int) -> Mamba:
        """Make a Mamba mixer for tokens of `width`."""
        return Mamba(width, self)


class Mamba(Mixer):
    """Mix tokens along time by a selective scan between two projections.

    in_proj gives x and a gate z; x passes a short causal convolution and SiLU; from x come the step sizes
    delta = softplus(dt_proj(..) + dt_bias) and the weights B and C of the scan
    h <- exp(delta * gap * A) h + delta * B * x, y = (C h + D x) * silu(z); out_proj gives the answer.

    Args:
        width: Width D of the tokens.
        settings: Everything else; None is the published default.

    Raises:
        ValueError: If a size is below 1 or the range of step sizes is empty.

    Source: A. Gu, T. Dao, "Mamba", 2023, figure 3 and algorithm 2; repository state-spaces/mamba.
    """

    gaps: ClassVar[Literal["exact", "feature", "refused"]] = "exact"

    def __init__(self, width: int, settings: MambaSettings | None = None) -> None:
        super().__init__()
        self.width = width
        self.settings = settings
        s = self._s = settings or MambaSettings()
        if min(width, s.expand) < 1 or s.conv_width < 0:
            raise ValueError(
                f"width is {width}, expand {s.expand}, conv_width {s.conv_width}: need at least 1, 1 and 0."
            )
        # The law of halved gaps needs exact holding, and a convolution counts tokens, not time.
        self.time_invariant = s.time_invariant and s.hold and s.conv_width <= 1
        self.inner = s.expand * width
        self.dt_rank = math.ceil(width / 16) if s.dt_rank is None else s.dt_rank
        if self.dt_rank < 1:
            raise ValueError(f"dt_rank is {self.dt_rank}: need at least 1, or None for ceil(width / 16).")
        self.in_proj = nn.Linear(width, 2 * self.inner, bias=False)
        self.out_proj = nn.Linear(self.inner, width, bias=False)
        self._add_conv(s.conv_width)
        self._add_scan(s)

    def _add_conv(self, taps: int) -> None:
        """Add the depthwise taps (inner, W), scaled as torch scales a depthwise Conv1d."""
        self.has_conv = taps > 1
        if self.has_conv:
            bound = 1 / math.sqrt(taps)
            self.conv_weight = nn.Parameter(torch.empty(self.inner, taps).uniform_(-bound, bound))
            self.conv_bias = nn.Parameter(torch.empty(self.inner).uniform_(-bound, bound))

    def _add_scan(self, s: MambaSettings) -> None:
        """Add what the scan needs; A, D and the step sizes' bias are kept from weight decay."""
        rates = decay_rates(s.init, s.state_size).expand(self.inner, -1)
        self.A_log = exempt_from_decay(nn.Parameter(torch.log(rates).clone()))
        self.D = exempt_from_decay(nn.Parameter(torch.ones(self.inner)))
        self.dt_bias = exempt_from_decay(nn.Parameter(step_bias(self.inner, s.dt_min, s.dt_max)))
        if s.time_invariant:
            self.B = nn.Parameter(torch.ones(s.state_size))
            self.C = nn.Parameter(torch.randn(s.state_size))
        else:
            self.x_proj = nn.Linear(self.inner, self.dt_rank + 2 * s.state_size, bias=False)
            self.dt_proj = nn.Linear(self.dt_rank, self.inner, bias=False)
            nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)

    def forward(
        self,
        x: Tensor,
        gaps: Tensor | None = None,
        *,
        cu_seqlens: Tensor | None = None,
        state: MambaState | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, MambaState]:
        """Mix x (B, T, D); see `mambats.protocols.Mixer.forward`."""
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x, conv = self._convolve(x, cu_seqlens, state, reverse)
        dt, B, C = self._select(x)
        y, ssm = selective_scan(
            x, dt, self._decay(), B, C, D=self.D, z=z, dt_bias=self.dt_bias, dt_softplus=True, gaps=gaps,
            hold=self._s.hold, cu_seqlens=cu_seqlens, initial_state=None if state is None else state.ssm,
            reverse=reverse,
        )  # fmt: skip
        return self.out_proj(y), MambaState(conv, ssm)

    def init_state(self, batch: int) -> MambaState:
        """Return zeros for `batch` rows."""
        wide = torch.promote_types(self.A_log.dtype, torch.float32)
        conv = self.in_proj.weight.new_zeros((batch, max(self._s.conv_width - 1, 0), self.inner))
        return MambaState(conv, self.A_log.new_zeros((batch, self.inner, self._s.state_size), dtype=wide))

    def step(
        self, x_t: Tensor, gap_t: Tensor | None = None, *, mask_t: Tensor | None = None, state: MambaState
    ) -> tuple[Tensor, MambaState]:
        """Take one token x_t (B, D); see `mambats.protocols.Mixer.step`."""
        x_t, z_t = self.in_proj(x_t).chunk(2, dim=-1)
        conv = state.conv
        if self.has_conv:
            x_t, conv = causal_conv_step(
                x_t, self.conv_weight, self.conv_bias, state=conv.to(x_t.dtype), activation="silu", mask=mask_t
            )
        else:
            x_t = F.silu(x_t)
        dt_t, B_t, C_t = self._select(x_t)
        y_t, ssm = selective_step(
            x_t, dt_t, self._decay(), B_t, C_t, state=state.ssm, D=self.D, z_t=z_t, dt_bias=self.dt_bias,
            dt_softplus=True, gap_t=gap_t, hold=self._s.hold, mask=mask_t,
        )  # fmt: skip
        return self.out_proj(y_t), MambaState(conv, ssm)

    def _convolve(
        self, x: Tensor, cu_seqlens: Tensor | None, state: MambaState | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Convolve and apply SiLU; the state is empty where there is no convolution."""
        if self.has_conv:
            initial = None if state is None else state.conv.to(x.dtype)
            return causal_conv(
                x, self.conv_weight, self.conv_bias, activation="silu", cu_seqlens=cu_seqlens,
                initial_state=initial, reverse=reverse,
            )  # fmt: skip
        rows = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        return F.silu(x), x.new_zeros((rows, 0, self.inner))

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return raw step sizes (..., inner) and input and output weights (..., N), from x unless time-invariant."""
        if self._s.time_invariant:
            size = (*x.shape[:-1], self._s.state_size)
            return torch.zeros_like(x), self.B.to(x.dtype).expand(size), self.C.to(x.dtype).expand(size)
        n = self._s.state_size
        dt, B, C = self.x_proj(x).split([self.dt_rank, n, n], dim=-1)
        return self.dt_proj(dt), B, C

    def _decay(self) -> Tensor:
        """Return A < 0, (inner, N), at least in float32: bfloat16 would round away slow decays."""
        return -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)))
