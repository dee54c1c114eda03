"""A block's step in one call of the native CPU library, where nothing but numbers is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambats.encoders.causal import CausalEncoder, CausalState
from mambats.encoders.compact import Clock
from mambats.mixers import Block
from mambats.protocols import State


class NativeBlock:
    """Take a block for a causal encoder of one layer, whose embedding passes tokens on as they are.

    That encoder knows when its native step may run. It is no part of the model: it has no parameters of its own that
    are trained or saved.

    Args:
        block: Any block.
    """

    def __init__(self, block: Block) -> None:
        width = block.mixer.width
        self._lane = CausalEncoder(width, width, 1, no_mixer=True)
        self._lane.blocks, self._lane.norm = nn.ModuleList([block]), nn.Identity()
        embedding = self._lane.embedding.requires_grad_(False)
        embedding.weight.zero_()[:, :width].fill_diagonal_(1)
        embedding.bias.zero_()
        self._clock = Clock.start(0, embedding.weight)

    def step(self, token: Tensor, gap_t: Tensor, mask_t: Tensor | None, state: State) -> tuple[Tensor, State] | None:
        """Take one token (B, D) as `Block.step`, or return None where torch operations must."""
        if len(self._clock.pending) != len(token):
            self._clock = Clock(torch.zeros(len(token)), torch.zeros(len(token), dtype=torch.bool))
        before = CausalState(self._clock, (state,))
        done = self._lane._native.step(self._lane, token, gap_t, None, mask_t, before)
        return None if done is None else (done[0], done[1].layers[0])
