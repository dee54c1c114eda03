"""The residual block: norm, mixer, dropout, sum."""

from __future__ import annotations

from torch import Tensor, nn

from mambats.protocols import Mixer, State


class Block(nn.Module):
    """Add to tokens what a mixer makes of their normalised form: x + dropout(mixer(norm(x))).

    Args:
        mixer: The mixer; its width is the block's.
        dropout: Share of the mixer's output dropped in training, 0 to 1.
    """

    def __init__(self, mixer: Mixer, dropout: float = 0.0) -> None:
        super().__init__()
        self.mixer = mixer
        self.dropout = dropout
        # 1e-5 as in the published model; the machine's epsilon would blow up tokens of constant series.
        self.norm = nn.RMSNorm(mixer.width, eps=1e-5)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, gaps: Tensor | None = None, *, cu_seqlens: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Mix x (B, T, D); arguments and state as in `Mixer.forward`."""
        y, state = self.mixer(self.norm(x), gaps, cu_seqlens=cu_seqlens, state=state)
        return x + self.drop(y), state

    def init_state(self, batch: int) -> State:
        """Return the mixer's state before any token."""
        return self.mixer.init_state(batch)

    def step(
        self, x_t: Tensor, gap_t: Tensor | None = None, *, mask_t: Tensor | None = None, state: State
    ) -> tuple[Tensor, State]:
        """Take one token x_t (B, D); rows where mask_t is False pass unchanged and keep their state."""
        y_t, state = self.mixer.step(self.norm(x_t), gap_t, mask_t=mask_t, state=state)
        return x_t + self.drop(y_t), state
