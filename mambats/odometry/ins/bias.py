"""Biases of an inertial unit that is left alone: a constant, a filter's, or what an encoder reads out of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambats.estimators import ConstantNoise, InertialFilter, RandomWalk, Start
from mambats.odometry.ins.flight import Flight, Reckoned, drift
from mambats.protocols import Encoder
from mambats.series import SensorRows

#: What a bias may move by, rad/s and m/s^2: of a unit whose constant bias is known. With 0.02 and 0.2 the training half
#: of EuRoC MH_01 was learned by heart, and rotation after 10 s three times worse than without.
_RANGE = (0.003, 0.003, 0.003, 0.05, 0.05, 0.05)


class LearnedBias(nn.Module):
    """Correct a known bias by what a causal encoder has read so far, sample group by sample group.

    Readings are averaged in groups; the correction for a group is read from the groups before it. The head starts at
    zero, so before training this is the known bias.

    Args:
        encoder: A causal encoder of 6 channels.
        group: Samples averaged into one row.

    Raises:
        ValueError: If the encoder has other channels or is not causal.
    """

    def __init__(self, encoder: Encoder, group: int = 10) -> None:
        super().__init__()
        if encoder.channels != 6 or not encoder.causal:
            raise ValueError(f"the encoder has {encoder.channels} channels, causal={encoder.causal}: need 6, causal.")
        self.encoder, self.group = encoder, group
        self.head = nn.Linear(encoder.width, 6)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("scale", torch.tensor([0.5, 0.5, 0.5, 3.0, 3.0, 3.0]), persistent=False)
        self.register_buffer("range", torch.tensor(_RANGE), persistent=False)

    def forward(self, readings: Tensor, known: Tensor, before: int) -> Tensor:
        """Return the bias of each sample behind the first `before`, (W, T - before, 6).

        Args:
            readings: Shape (W, T, 6), T and `before` multiples of the group.
            known: Bias that is corrected, shape (W, 6) or (6,).
            before: Samples that are read first, at least one group.
        """
        rows = readings.unflatten(1, (-1, self.group)).mean(2)
        rows = (rows - known.unsqueeze(-2)) / self.get_buffer("scale")
        token, _ = self.encoder(rows)
        moved = self.get_buffer("range") * torch.tanh(self.head(token[:, before // self.group - 1 : -1]))
        return (known.unsqueeze(-2) + moved).repeat_interleave(self.group, 1)


def cost(found: Reckoned, truth: Reckoned) -> Tensor:
    """Return the mean drift: metres a second of position, and of rotation ten metres a radian."""
    angle, _, way = drift(found, truth)
    seconds = torch.arange(1, way.shape[1] + 1).to(way)
    return (way / seconds).mean() + 10 * (angle / seconds).mean()


def constant_bias(flight: Flight, starts: Tensor, seconds: int, gravity: float, rounds: int = 40) -> Tensor:
    """Fit one bias (6,) to windows with truth, by L-BFGS."""
    bias = flight.readings.new_zeros(6).requires_grad_()
    search = torch.optim.LBFGS([bias], max_iter=rounds, line_search_fn="strong_wolfe")
    truth = flight.truth(starts, seconds)

    def lower() -> Tensor:
        search.zero_grad()
        value = cost(flight.reckon(starts, seconds, bias, gravity), truth)
        value.backward()
        return value

    with torch.enable_grad():
        search.step(lower)
    return bias.detach()


@torch.no_grad()
def filtered_bias(flight: Flight, gravity: float, period: float = 0.1) -> tuple[Tensor, Tensor]:
    """Return the biases (K, 6) that a filter finds which is shown true positions, and the samples (K,) they are at.

    Args:
        flight: With truth.
        gravity: m/s^2.
        period: Seconds between positions.
    """
    noise = {"imu": RandomWalk([5e-4, 1e-2, 2e-5, 1e-3]), "gnss": ConstantNoise([0.01, 0.01, 0.01])}
    start = Start(tilt=0.01, heading=0.01, velocity=0.05, position=0.01, gyro_bias=0.1, accelerometer_bias=0.3)
    model = InertialFilter(noise, gravity=gravity, start=start).to(flight.readings)
    step = round(period * flight.rate)
    at = torch.arange(step, len(flight.dt), step, device=flight.dt.device)
    clock = ((flight.dt.cumsum(0) - flight.dt) * 1e9).round().long()
    ones = torch.ones(1, len(clock), device=clock.device)
    imu = SensorRows(flight.readings[None], ones.bool(), ones, clock[None])
    ones = ones[:, : len(at)]
    fixes = SensorRows(flight.position[at][None], ones.bool(), ones, clock[at][None])
    begin = model.aligned(flight.quaternion[:1], flight.velocity[:1], flight.position[:1])
    track, _ = model.run({"imu": imu, "gnss": fixes}, int(clock[-1]), begin)
    return track.bias[0], at
