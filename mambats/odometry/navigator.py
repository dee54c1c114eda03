"""The navigator: a bank of filters, a fusion encoder that watches it, and a head that says whom to believe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import Start
from mambats.odometry.bank import MEMBERS, BankState, FilterBank, ready
from mambats.odometry.head import BeliefHead
from mambats.odometry.mixture import Candidates, candidates, mix, to_world
from mambats.odometry.navigation import Navigation
from mambats.odometry.tokens import Memory, channels, remember, tokens
from mambats.protocols import FusionEncoder, State
from mambats.series import SensorRows, SensorWindow


class Prepared(NamedTuple):
    """What the network reads of a batch of windows: all that the filters can say without it, made once."""

    rows: dict[str, SensorRows]  #: streams of tokens
    found: Candidates  #: at every tick
    stamps: Tensor  #: (B, T) int64 nanoseconds since the window's start
    length_ns: int


class NavigatorState(NamedTuple):
    """What a run carries from one window to the next."""

    bank: BankState
    memory: Memory
    encoder: State


class Navigator(nn.Module):
    """Estimate pose and velocity, with their covariance, from any subset of inertial unit, GNSS and wheels.

    Four error-state filters run side by side, each blind to one sensor but the first (`FilterBank`). A fusion encoder
    watches sensors and filters; a head weighs the filters, shifts the mean and reshapes the covariance (`BeliefHead`).
    Freshly made it answers as the first filter does. All of it is causal: `forward` over a window equals calls over
    windows that follow one another, and so equals running on a robot tick by tick.

    Args:
        encoder: Reads the streams `Navigator.channels()`.
        bank: The filters.
        start: How sure one is of where a run starts.
        trust: How far the first filter is ahead before training, nats.

    Raises:
        ValueError: If the encoder reads other streams.
    """

    def __init__(
        self, encoder: FusionEncoder, bank: FilterBank, start: Start | None = None, trust: float = 4.0
    ) -> None:
        super().__init__()
        if dict(encoder.streams) != self.channels():
            raise ValueError(f"the encoder reads {dict(encoder.streams)}: a navigator shows it {self.channels()}.")
        self.encoder, self.bank, self.start, self.trust = encoder, bank, start, trust
        self.head = BeliefHead(encoder.width, len(MEMBERS), trust)
        self.deviations = start or Start()

    @staticmethod
    def channels() -> dict[str, int]:
        """Columns of the streams that the encoder is shown, in their order."""
        return channels(len(MEMBERS))

    def init_state(self, start: Navigation) -> NavigatorState:
        """Return a run's state before any row.

        Args:
            start: Where each body is thought to be, (B, ...); its covariance is not read, see the argument `start`.
        """
        start = Navigation(*(part.double() for part in start))
        bank = self.bank.begin(start, self.deviations)
        batch, device = len(start.position), start.position.device
        none = torch.zeros(batch, dtype=torch.int64, device=device)
        memory = Memory(self.bank.each(bank), torch.full_like(start.position, torch.nan), none, none, start.yaw)
        return NavigatorState(bank, memory, self.encoder.init_state(batch))

    @torch.no_grad()
    def prepare(self, window: SensorWindow, state: NavigatorState) -> tuple[Prepared, NavigatorState]:
        """Run the filters over a batch of windows: what does not change while the network is trained.

        Raises:
            ValueError: If the window is shorter than a tick.
        """
        if window.length_ns < self.bank.tick_ns:
            raise ValueError(f"the window has {window.length_ns} ns: need a tick of {self.bank.tick_ns} ns or more.")
        rows = ready(window, self.bank.tick_ns)
        each, bank = self.bank.run(rows, window.length_ns, state.bank)
        found = candidates(each, state.memory.start)
        shown = tokens(rows, found, each, state.memory, self.bank.tick_ns)
        memory = remember(rows, each, state.memory, window.length_ns)
        prepared = Prepared(shown, found, rows["query"].stamps, window.length_ns)
        return prepared, NavigatorState(bank, memory, state.encoder)

    def believe(self, rows: Mapping[str, SensorRows], length_ns: int, state: State = None) -> tuple[Tensor, State]:
        """Return the encoder's tokens (B, T, width) at the ticks, and its state."""
        made, state = self.encoder(rows, length_ns, state=state)
        return made["state"], state

    def answer(self, token: Tensor, found: Candidates) -> tuple[Tensor, Tensor]:
        """Return mean (..., 9) as difference from the reference and Cholesky factor (..., 9, 9), see `mix`."""
        belief = self.head(token, found.there)
        return mix(found, belief.weights, belief.shift, belief.factor)

    def forward(self, window: SensorWindow, state: NavigatorState) -> tuple[Navigation, NavigatorState]:
        """Return the estimates (B, T, ...) at every tick of a window, in the world, and the state at its end."""
        prepared, after = self.prepare(window, state)
        token, encoder = self.believe(prepared.rows, prepared.length_ns, state.encoder)
        estimate = to_world(prepared.found, *self.answer(token, prepared.found))
        return estimate, after._replace(encoder=encoder)
