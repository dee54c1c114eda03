"""A scan a stream, all streams in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mambats.encoders.fusion.native_block import NativeBlock
from mambats.encoders.fusion.plan import Plan
from mambats.mixers import Block, Mamba, MambaSettings, MambaState, MixerSettings
from mambats.protocols import Mixer, State
from mambats.series.state import merge_states
from mambats_kernels import multi_scan


@dataclass(frozen=True)
class Shared(MixerSettings):
    """Let all streams share the parameters of one mixer a layer.

    Args:
        mixer: Which one; None is `MambaSettings()`.
    """

    mixer: MixerSettings | None = None

    def build(self, width: int) -> Mixer:
        """Make the mixer."""
        return (self.mixer or MambaSettings()).build(width)


class StreamBlocks(nn.Module):
    """A residual block for every stream, or one for all (`Shared`).

    Blocks of their own have projections, convolutions and step sizes of their own. Mamba's rates A and skips D are
    the same for all, which makes one scan of all streams; step sizes, which multiply A, set each stream's memory.

    Args:
        streams: Number of streams S.
        width: Width D of the tokens.
        mixer: Of each block; None is `MambaSettings()`.
        dropout: Share of each block's output dropped in training.
    """

    def __init__(self, streams: int, width: int, mixer: MixerSettings | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        settings = mixer or MambaSettings()
        self.streams = streams
        self.shared = isinstance(settings, Shared)
        self.blocks = nn.ModuleList(Block(settings.build(width), dropout) for _ in range(1 if self.shared else streams))
        first: Any = self.blocks[0]
        for block in self.blocks:
            mine: Any = block
            if isinstance(mine.mixer, Mamba):
                mine.mixer.A_log, mine.mixer.D = first.mixer.A_log, first.mixer.D
        self._native = [NativeBlock(block) for block in self.blocks]  # type: ignore[arg-type]

    def init_state(self, batch: int) -> tuple[State, ...]:
        """Return the state of each stream before any token."""
        return tuple(self._block(stream).init_state(batch) for stream in range(self.streams))

    def _block(self, stream: int) -> Any:
        return self.blocks[0 if self.shared else stream]

    def forward(self, tokens: Tensor, plan: Plan, states: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """Mix packed tokens (1, L, D) of all streams along time."""
        if self.shared:
            y, state = self._block(0)(tokens, plan.gaps, cu_seqlens=plan.borders, state=join_states(states))
            return y, split_states(state, [len(packing.cu_seqlens) for packing in plan.packings])
        if all(type(block.mixer) is Mamba for block in self.blocks):
            return _mix(list(self.blocks), tokens, plan, states)
        left: list[State] = []
        after: list[Tensor] = []
        for block, token, gaps, packing, state in zip(
            self.blocks, tokens.split(plan.sizes, 1), plan.gaps.split(plan.sizes, 1), plan.packings, states, strict=True
        ):
            token, state = block(token, gaps, cu_seqlens=packing.cu_seqlens, state=state)
            after.append(token)
            left.append(state)
        return torch.cat(after, 1), tuple(left)

    def step(
        self, stream: int, token: Tensor, gap_t: Tensor, mask_t: Tensor | None, states: tuple[State, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Take one token (B, D) of a stream."""
        done = self._native[0 if self.shared else stream].step(token, gap_t, mask_t, states[stream])
        if done is None:
            done = self._block(stream).step(token, gap_t, mask_t=mask_t, state=states[stream])
        token, left = done
        return token, (*states[:stream], left, *states[stream + 1 :])


def _mix(
    blocks: Sequence[Any], tokens: Tensor, plan: Plan, states: Sequence[MambaState]
) -> tuple[Tensor, tuple[MambaState, ...]]:
    """Run Mamba blocks of their own: projections and convolutions stream by stream, one scan for all."""
    parts: list[tuple[Tensor, ...]] = []
    convs: list[Tensor] = []
    for block, token, packing, state in zip(blocks, tokens.split(plan.sizes, 1), plan.packings, states, strict=True):
        mixer: Mamba = block.mixer
        x, z = mixer.in_proj(block.norm(token)).chunk(2, dim=-1)
        x, conv = mixer._convolve(x, packing.cu_seqlens, state, False)
        parts.append((x, z, *mixer._select(x)))
        convs.append(conv)
    x, z, dt, B, C = (torch.cat(each, 1) for each in zip(*parts, strict=True))
    mixer = blocks[0].mixer
    y, ssm = multi_scan(
        x, dt, mixer._decay(), B, C, tokens=plan.sizes, cu_seqlens=[packing.cu_seqlens for packing in plan.packings],
        D=mixer.D, z=z, dt_bias=torch.stack([block.mixer.dt_bias for block in blocks]), dt_softplus=True,
        gaps=plan.gaps, hold=mixer._s.hold, initial_state=[state.ssm for state in states],
    )  # fmt: skip
    outputs = zip(blocks, y.split(plan.sizes, 1), strict=True)
    mixed = torch.cat([block.drop(block.mixer.out_proj(part)) for block, part in outputs], 1)
    return tokens + mixed, tuple(map(MambaState, convs, ssm))


def join_states(states: Sequence[State]) -> State:
    """Lay the states of streams behind one another, each followed by a row of zeros for its tail."""

    def joined(leaves: list[Tensor]) -> Tensor:
        return torch.cat([row for leaf in leaves for row in (leaf, leaf.new_zeros((1, *leaf.shape[1:])))])

    return merge_states(states, joined)


def split_states(state: State, rows: list[int]) -> tuple[State, ...]:
    """Undo `join_states`: `rows` of each stream, tails included."""
    if isinstance(state, Tensor):
        return tuple(part[:-1] for part in state.split(rows))
    children = [split_states(child, rows) for child in state]
    make: Any = type(state) if hasattr(state, "_fields") else lambda *leaves: leaves
    return tuple(make(*leaves) for leaves in zip(*children, strict=True))
