"""The classifier: encoder, pool and a linear head, over whole cases or row by row."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mambats.classify.pool import LastToken, Pool, PoolState
from mambats.protocols import Encoder, State


class ClassifierState(NamedTuple):
    """What a classifier remembers of a stream, batch first."""

    encoder: State
    pool: PoolState


class Classifier(nn.Module):
    """Say which of K classes a sequence belongs to: logits = head(pool(encoder(x))).

    With a causal encoder it also runs row by row, `step`, and knows after every row what it would have said of the
    sequence so far.

    Args:
        encoder: Reads C channels.
        classes: K, at least 2.
        pool: How tokens become one vector; `LastToken` where None.
        dropout: Share of the vector dropped in training.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    def __init__(self, encoder: Encoder, classes: int, pool: Pool | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes is {classes}: need at least 2 to choose from.")
        self.encoder, self.classes, self.dropout = encoder, classes, dropout
        self.pool = LastToken() if pool is None else pool
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.width, classes)

    def forward(
        self,
        values: Tensor,
        gaps: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, K) of cases (B, T, C); arguments as in `mambats.protocols.Encoder.forward`."""
        tokens, _ = self.encoder(values, gaps, observed=observed, mask=mask)
        return self.head(self.drop(self.pool(tokens, mask)))

    def init_state(self, batch: int) -> ClassifierState:
        """Return the state before any row, on the device of the parameters."""
        pool = self.pool.init_state(batch, self.encoder.width, self.head.weight)
        return ClassifierState(self.encoder.init_state(batch), pool)

    def step(
        self,
        values_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: ClassifierState,
    ) -> tuple[Tensor, ClassifierState]:
        """Take one row (B, C); returns the logits (B, K) of what was seen so far, and the next state."""
        token, encoder = self.encoder.step(values_t, gap_t, observed_t=observed_t, mask_t=mask_t, state=state.encoder)
        vector, pool = self.pool.step(token, mask_t, state.pool)
        return self.head(self.drop(vector)), ClassifierState(encoder, pool)
