"""The navigator: a bank of filters, a fusion encoder that watches it, and a head that says whom to believe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.calibration import nees
from mambats.estimators.inertial import Start
from mambats.gaussian import Gaussian
from mambats.odometry.anchor import anchor_of, distances
from mambats.odometry.bank import MEMBERS, BankState, FilterBank, ready
from mambats.odometry.head import BeliefHead
from mambats.odometry.mixture import Candidates, candidates, mix, to_world
from mambats.odometry.navigation import SIZE, Navigation
from mambats.odometry.robot import START
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
        bank: The filters; None for those of a small robot.
        start: How sure one is of where a run starts; None for `mambats.odometry.robot.START`.
        trust: How far the first filter is ahead before training, nats.
        gain: How fast training moves the filters' weights, see `BeliefHead`.

    Raises:
        ValueError: If the encoder reads other streams.
    """

    def __init__(
        self,
        encoder: FusionEncoder,
        bank: FilterBank | None = None,
        start: Start | None = None,
        trust: float = 4.0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if dict(encoder.streams) != self.channels():
            raise ValueError(f"the encoder reads {dict(encoder.streams)}: a navigator shows it {self.channels()}.")
        self.encoder, self.bank, self.start = encoder, bank or FilterBank(), start
        self.trust, self.gain = trust, gain
        self.head = BeliefHead(encoder.width, len(MEMBERS), trust, gain)
        self.deviations = start or START
        self.register_buffer("log_scale", torch.zeros(SIZE))
        self.log_scale: Tensor

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
        each = self.bank.each(bank)
        far = torch.zeros_like(each.position[..., 0])
        memory = Memory(each, torch.full_like(start.position, torch.nan), none, none, start.yaw, far)
        return NavigatorState(bank, memory, self.encoder.init_state(batch))

    @torch.no_grad()
    def prepare(self, window: SensorWindow, state: NavigatorState) -> tuple[Prepared, Navigation, NavigatorState]:
        """Run the filters over a batch of windows: what does not change while the network is trained.

        Returns:
            What the network reads, the filters' own estimates (axes (B, T, C)), and the state at the window's end, but
            for the encoder's.

        Raises:
            ValueError: If the window is shorter than a tick.
        """
        if window.length_ns < self.bank.tick_ns:
            raise ValueError(f"the window has {window.length_ns} ns: need a tick of {self.bank.tick_ns} ns or more.")
        rows = ready(window, self.bank.tick_ns)
        each, bank = self.bank.run(rows, window.length_ns, state.bank)
        prepared, after = self.show(rows, window.length_ns, each, state)
        return prepared, each, after._replace(bank=bank)

    def show(
        self, rows: Mapping[str, SensorRows], length_ns: int, each: Navigation, state: NavigatorState
    ) -> tuple[Prepared, NavigatorState]:
        """Return what the network reads of a batch of windows, and the state with the memory of the windows' end.

        Args:
            rows: As `ready` makes them.
            length_ns: Of the windows.
            each: The filters' estimates at the ticks, axes (B, T, C).
            state: At the windows' start.
        """
        far = distances(rows["gnss"], rows["query"].stamps, each, state.memory.far)
        found = candidates(each, state.memory.start, anchor_of(far))
        shown = tokens(rows, found, each, state.memory, self.bank.tick_ns)
        memory = remember(rows, each, state.memory, length_ns, far[:, -1])
        return Prepared(shown, found, rows["query"].stamps, length_ns), state._replace(memory=memory)

    def believe(self, rows: Mapping[str, SensorRows], length_ns: int, state: State = None) -> tuple[Tensor, State]:
        """Return the encoder's tokens (B, T, width) at the ticks, and its state."""
        made, state = self.encoder(rows, length_ns, state=state)
        return made["state"], state

    def answer(self, token: Tensor, found: Candidates) -> tuple[Tensor, Tensor]:
        """Return mean (..., 9) as difference from the reference and Cholesky factor (..., 9, 9), see `mix`."""
        belief = self.head(token, found.there)
        mean, root = mix(found, belief.weights, belief.shift, belief.factor)
        # In training the head shapes the covariance by itself; what validation measured comes on top afterwards.
        return mean, root if self.training else self.log_scale.exp()[:, None] * root

    @torch.no_grad()
    def calibrate(self, error: Tensor, root: Tensor) -> None:
        """Widen or narrow rotation, velocity and position so that each block's mean NEES is 1 per number.

        Args:
            error: Truth less mean on validation drives, shape (..., 9).
            root: Cholesky factors that were answered, shape (..., 9, 9).
        """
        covariance = root.double() @ root.double().mT
        for begin in range(0, SIZE, 3):
            block = Gaussian(
                torch.zeros_like(error[..., :3]).double(), covariance[..., begin : begin + 3, begin : begin + 3]
            )
            self.log_scale[begin : begin + 3] += 0.5 * math.log(
                float(nees(block, error[..., begin : begin + 3].double()).mean()) / 3
            )

    def forward(self, window: SensorWindow, state: NavigatorState) -> tuple[Navigation, NavigatorState]:
        """Return the estimates (B, T, ...) at every tick of a window, in the world, and the state at its end."""
        prepared, _, after = self.prepare(window, state)
        estimate, encoder = self._read(prepared, state)
        return estimate, after._replace(encoder=encoder)

    def estimates(self, window: SensorWindow, state: NavigatorState) -> tuple[Navigation, Navigation]:
        """Return the estimate (B, T, ...) and those of the filters (B, T, C, ...), for a table."""
        prepared, each, _ = self.prepare(window, state)
        return self._read(prepared, state)[0], each

    def _read(self, prepared: Prepared, state: NavigatorState) -> tuple[Navigation, State]:
        token, encoder = self.believe(prepared.rows, prepared.length_ns, state.encoder)
        return to_world(prepared.found, *self.answer(token, prepared.found)), encoder
