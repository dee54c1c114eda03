"""The regressor: a number with its interval at every row of a sequence, in parallel and row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from mambats.protocols import Encoder, State
from mambats.recipe import describe, rebuild
from mambats.regress.head import Estimate, IntervalHead
from mambats.scale import Scaler


class Regressor(nn.Module):
    """Estimate a number at every row from the rows up to it.

    Answers are made in units of the target's deviation over the training rows (`target`), and estimates in the
    target's own. Several members, alike but for their random start, learn side by side, and their estimates are
    averaged.

    Args:
        encoder: Causal; reads C channels.
        head: Makes the answer.
        floor: Least possible value, in the target's unit, or None.
        cap: Above it the target counts as `cap`, in training and in estimates; None knows no cap.
        level: Share of the interval.
        members: Encoders with heads, M; the first is the one given.

    Raises:
        ValueError: If the encoder reads ahead, widths or bounds do not fit, or there is no member.
    """

    stretch: Tensor

    def __init__(
        self,
        encoder: Encoder,
        head: IntervalHead,
        floor: float | None = None,
        cap: float | None = None,
        level: float = 0.9,
        members: int = 1,
    ) -> None:
        super().__init__()
        if not encoder.causal:
            raise ValueError("the encoder reads ahead: an estimate at a row may know the rows up to it only.")
        if head.width != encoder.width:
            raise ValueError(f"the head reads tokens of width {head.width}, the encoder gives {encoder.width}.")
        if floor is not None and cap is not None and floor >= cap:
            raise ValueError(f"floor is {floor}, cap {cap}: need floor < cap.")
        if members < 1:
            raise ValueError(f"members is {members}: need at least 1.")
        self.encoder, self.head, self.floor, self.cap = encoder, head, floor, cap
        self.level, self.members = level, members
        self.others = nn.ModuleList(
            nn.ModuleList([rebuild(describe(encoder)), rebuild(describe(head))]) for _ in range(members - 1)
        )
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
        state: tuple[State, ...] | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Return answers (B, T, M, A) in scaled units for `estimate`, and the state, one a member.

        Arguments as in `mambats.protocols.Encoder.forward`; answers at rows that mask leaves out mean nothing.
        """
        answers: list[Tensor] = []
        left: list[State] = []
        for (encoder, head), before in zip(self._pairs(), state or (None,) * self.members, strict=True):
            tokens, after = encoder(values, gaps, observed=observed, mask=mask, state=before)
            answers.append(head(tokens))
            left.append(after)
        return torch.stack(answers, -2), tuple(left)

    def init_state(self, batch: int) -> tuple[State, ...]:
        """Return the state before any row, on the device of the parameters."""
        return tuple(encoder.init_state(batch) for encoder, _ in self._pairs())

    def step(
        self,
        values_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: tuple[State, ...],
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Take one row (B, C); returns its answers (B, M, A) and the next state."""
        answers: list[Tensor] = []
        left: list[State] = []
        for (encoder, head), before in zip(self._pairs(), state, strict=True):
            token, after = encoder.step(values_t, gap_t, observed_t=observed_t, mask_t=mask_t, state=before)
            answers.append(head(token))
            left.append(after)
        return torch.stack(answers, -2), tuple(left)

    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the members' answers (..., M, A) at target (...) in its own unit, shape (...)."""
        scaled = self.scaled(target).unsqueeze(-1).expand(answer.shape[:-1])
        return self.head.loss(answer, scaled).mean(-1)

    def scaled(self, target: Tensor) -> Tensor:
        """Return the target (...) as the answers have it: held within floor and cap, in deviations from its mean."""
        return self.target.transform(self.held(target).unsqueeze(-1)).squeeze(-1)

    def held(self, target: Tensor) -> Tensor:
        """Return target held within floor and cap; NaN stays."""
        return target if self.floor is None and self.cap is None else target.clamp(self.floor, self.cap)

    def estimate(self, answer: Tensor) -> Estimate:
        """Return point and calibrated interval in the target's unit of answers (..., M, A), each (...)."""
        point, low, high = self.unheld(answer)
        bounds = point, point - self.stretch * (point - low), point + self.stretch * (high - point)
        return Estimate(*(self.held(each) for each in bounds))

    def unheld(self, answer: Tensor) -> Estimate:
        """Return point and interval before calibration, floor and cap: what a calibration judges, each (...)."""
        point, low, high = (each.mean(-1) for each in self.head.estimate(answer, self.level))
        # The point may lie outside quantiles that were trained apart from it: an interval contains its point.
        bounds = point, torch.minimum(point, low), torch.maximum(point, high)
        return Estimate(*(self.target.inverse(each.unsqueeze(-1)).squeeze(-1) for each in bounds))

    def _pairs(self) -> Iterator[tuple[Encoder, IntervalHead]]:
        """Yield each member's encoder and head."""
        yield self.encoder, self.head
        for pair in self.others:
            encoder, head = cast("tuple[Encoder, IntervalHead]", tuple(cast("nn.ModuleList", pair)))
            yield encoder, head
