"""The regressor: a number with its interval at every row of a sequence, in parallel and row by row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambats.protocols import Encoder, State
from mambats.regress.head import Estimate, IntervalHead
from mambats.scale import Scaler


class Regressor(nn.Module):
    """Estimate a number at every row from the rows up to it.

    Answers are made in units of the target's deviation over the training rows (`target`), and estimates in the
    target's own.

    Args:
        encoder: Causal; reads C channels.
        head: Makes the answer.
        floor: Least possible value, in the target's unit, or None.
        cap: Above it the target counts as `cap`, in training and in estimates; None knows no cap.
        level: Share of the interval.

    Raises:
        ValueError: If the encoder reads ahead, or widths or bounds do not fit.
    """

    stretch: Tensor

    def __init__(
        self,
        encoder: Encoder,
        head: IntervalHead,
        floor: float | None = None,
        cap: float | None = None,
        level: float = 0.9,
    ) -> None:
        super().__init__()
        if not encoder.causal:
            raise ValueError("the encoder reads ahead: an estimate at a row may know the rows up to it only.")
        if head.width != encoder.width:
            raise ValueError(f"the head reads tokens of width {head.width}, the encoder gives {encoder.width}.")
        if floor is not None and cap is not None and floor >= cap:
            raise ValueError(f"floor is {floor}, cap {cap}: need floor < cap.")
        self.encoder, self.head, self.floor, self.cap = encoder, head, floor, cap
        self.level = level
        self.target = Scaler(("target",))
        # What a calibration multiplies the reach of intervals by; 1 before one.
        self.register_buffer("stretch", torch.ones(()))

    def forward(
        self,
        values: Tensor,
        gaps: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """Return answers (B, T, A) in scaled units for `estimate`, and the state; what mask leaves out means nothing.

        Arguments as in `mambats.protocols.Encoder.forward`.
        """
        tokens, state = self.encoder(values, gaps, observed=observed, mask=mask, state=state)
        return self.head(tokens), state

    def init_state(self, batch: int) -> State:
        """Return the state before any row, on the device of the parameters."""
        return self.encoder.init_state(batch)

    def step(
        self,
        values_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: State,
    ) -> tuple[Tensor, State]:
        """Take one row (B, C); returns its answer (B, A) and the next state."""
        token, state = self.encoder.step(values_t, gap_t, observed_t=observed_t, mask_t=mask_t, state=state)
        return self.head(token), state

    def scaled(self, target: Tensor) -> Tensor:
        """Return the target (...) as the answers have it: held within floor and cap, in deviations from its mean."""
        return self.target.transform(self.held(target).unsqueeze(-1)).squeeze(-1)

    def held(self, target: Tensor) -> Tensor:
        """Return target held within floor and cap; NaN stays."""
        return target if self.floor is None and self.cap is None else target.clamp(self.floor, self.cap)

    def estimate(self, answer: Tensor) -> Estimate:
        """Return point and calibrated interval in the target's unit of answers (..., A), each (...)."""
        point, low, high = self.head.estimate(answer, self.level)
        # The point may lie outside quantiles that were trained apart from it: an interval contains its point.
        below, above = ((each).clamp_min(0) for each in (point - low, high - point))
        bounds = point, point - self.stretch * below, point + self.stretch * above
        back = (self.target.inverse(each.unsqueeze(-1)).squeeze(-1) for each in bounds)
        return Estimate(*(self.held(each) for each in back))
