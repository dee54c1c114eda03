"""The head of odometry: how far to believe each candidate, a correction, and the shape of what is left unknown."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.odometry.navigation import SIZE

#: Rotation, velocity and position are weighed by themselves: a filter without satellites keeps its speed better than it
#: keeps its place. With one weight for all, a robot without wheels lost 9 % of its position to that compromise.
BLOCKS = 3
#: What an output of 1 moves: rad, m/s, m.
UNIT = (0.02,) * 3 + (0.1,) * 3 + (0.5,) * 3
#: The logarithm of a standard deviation's change is bounded: a factor of 55 either way.
REACH = 4.0


class Belief(NamedTuple):
    """What a head says of C candidates; any leading axes."""

    weights: Tensor  #: (..., 3, C), of rotation, velocity and position; sum 1 each
    shift: Tensor  #: (..., 9)
    factor: Tensor  #: (..., 9, 9) lower triangular, positive diagonal


class BeliefHead(nn.Module):
    """Turn tokens into weights of candidates, a shift of their mean and a reshaping of their covariance.

    Freshly made it believes the first candidate (by `trust`, in nats over the others) and changes nothing.

    Args:
        width: Of a token.
        candidates: How many, C.
        trust: How far the first is ahead before training.
        gain: Nats that an output of 1 moves a weight by. To leave a filter that ran 100 m away takes 5 to 8 nats; with
            some hundred steps of training 5 gets there where 1 does not (position without inertial unit 0.73 m
            instead of 4.1 m after 300 steps).

    Raises:
        ValueError: If the gain is not above 0.
    """

    def __init__(self, width: int, candidates: int, trust: float = 4.0, gain: float = 1.0) -> None:
        super().__init__()
        if not gain > 0:
            raise ValueError(f"gain is {gain}: need nats above 0.")
        self.width, self.candidates, self.trust, self.gain = width, candidates, trust, gain
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, BLOCKS * candidates + SIZE + SIZE * (SIZE + 1) // 2)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, token: Tensor, there: Tensor) -> Belief:
        """Read tokens (..., width).

        Args:
            token: Of the query stream.
            there: Which candidates exist, shape (..., C) bool; if none does, the first is taken.
        """
        out = self.outer(token + nn.functional.silu(self.inner(token)))
        logits, shift, diagonal, lower = out.split([BLOCKS * self.candidates, SIZE, SIZE, SIZE * (SIZE - 1) // 2], -1)
        first = torch.zeros(self.candidates, dtype=token.dtype, device=token.device)
        first[0] = self.trust
        none = ~there.any(-1, keepdim=True)
        logits = self.gain * logits.unflatten(-1, (BLOCKS, self.candidates)) + first
        logits = logits.masked_fill(~(there | none).unsqueeze(-2), -torch.inf)
        size = REACH * torch.tanh(diagonal / REACH)
        rows, columns = torch.tril_indices(SIZE, SIZE, -1, device=token.device)
        factor = torch.diag_embed(torch.exp(size))
        factor[..., rows, columns] = 0.3 * lower
        return Belief(logits.softmax(-1), shift * shift.new_tensor(UNIT), factor)
