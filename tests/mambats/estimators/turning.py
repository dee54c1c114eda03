"""A classic: something turns in the plane, seen at an angle and a distance; and a linear model, for all to agree on."""

import math

import torch

from mambats.estimators.models import Motion, Sensor
from mambats.estimators.noise import BlockNoise, ConstantNoise, RandomWalk, WhiteAcceleration
from mambats.estimators.turn import BearingRange, CoordinatedTurn
from mambats.series import SensorRows

BEGIN = (200.0, 100.0, -8.0, 3.0, 0.1)
SPREAD = (20.0, 20.0, 2.0, 2.0, 0.05)


class Straight(Motion):
    """Constant velocity in the plane."""

    size = 4

    def __init__(self):
        super().__init__()
        self.noise = WhiteAcceleration([0.5, 0.3])

    def forward(self, x, elapsed):
        return torch.cat([x[:, :2] + elapsed[:, None] * x[:, 2:], x[:, 2:]], -1)

    def jacobian(self, x, elapsed):
        eye = torch.eye(4).to(x)
        return eye + elapsed[:, None, None] * torch.nn.functional.pad(eye[:2, :2], (2, 0, 0, 2))


class Places(Sensor):
    """The place; or less of it."""

    def __init__(self, deviation=(1.0, 1.5)):
        super().__init__()
        self.size, self.noise = len(deviation), ConstantNoise(deviation)

    def forward(self, x):
        return x[:, : self.size]

    def jacobian(self, x):
        return torch.eye(4)[: self.size].to(x).expand(len(x), -1, -1)


def straight(build, **changes):
    """A filter of the linear model, in float64."""
    sensors = {"place": Places(), "side": Places((0.5,))}
    return build(
        Straight(), sensors, ConstantNoise([3.0, 3.0, 2.0, 2.0]), mean=(1.0, 2.0, 0.5, 0.0), **changes
    ).double()


def turning(build, **changes):
    """A filter of the turn, in float64."""
    motion = CoordinatedTurn(BlockNoise([WhiteAcceleration([0.3, 0.3]), RandomWalk([0.01])]))
    sensors = {"radar": BearingRange(ConstantNoise([math.radians(1.0), 2.0]), (10.0, -5.0))}
    return build(motion, sensors, ConstantNoise(SPREAD), mean=BEGIN, **changes).double()


def drive(filter_, batch, steps, seconds=1.0, seed=0):
    """True states (B, K, n) and measurements (B, K, m) of the filter's own first stream, from its own models."""
    g = torch.Generator().manual_seed(seed)

    def noise(covariance):
        root = torch.linalg.cholesky(covariance + 1e-12 * torch.eye(covariance.shape[-1]))
        return (root @ torch.randn(*root.shape[:-1], 1, generator=g, dtype=torch.float64))[..., 0]

    with torch.no_grad():
        sensor, elapsed = next(iter(filter_.sensors.values())), torch.full((batch,), seconds, dtype=torch.float64)
        x, states, values = filter_._mean + noise(filter_.start(elapsed)), [], []
        for _ in range(steps):
            x = filter_.motion(x, elapsed) + noise(filter_.motion.noise(elapsed))
            states.append(x)
            values.append(sensor(x) + noise(sensor.noise(elapsed)))
    return torch.stack(states, 1), torch.stack(values, 1)


def consistency(estimate, truth):
    """NEES (B,)."""
    error = truth - estimate.mean
    return (error.unsqueeze(-2) @ torch.linalg.solve(estimate.covariance, error.unsqueeze(-1)))[..., 0, 0]


def steps(filter_, values, seconds=1.0, stream=None):
    """Filter measurements (B, K, m); return the state after each."""
    stream = stream or next(iter(filter_.streams))
    state, made = filter_.init_state(len(values)), []
    elapsed = torch.full((len(values),), seconds, dtype=values.dtype)
    for value in values.unbind(1):
        state, _ = filter_.update(filter_.predict(state, elapsed), stream, value)
        made.append(state)
    return made


def window(values, stream, seconds=1.0, kept=None):
    """Rows of one stream, one every so many seconds from the first second on, and the window's length."""
    batch, count, _ = values.shape
    stamps = (torch.arange(1, count + 1) * round(seconds * 1e9)).expand(batch, -1)
    mask = torch.ones(batch, count, dtype=torch.bool) if kept is None else kept
    return {stream: SensorRows(values, mask, mask.float(), stamps)}, round(count * seconds * 1e9)


def linear(filter_, values, seconds=1.0):
    """The Kalman filter of a linear model and what it smooths to, by its equations, from a filter's own models."""
    elapsed = torch.full((len(values),), seconds, dtype=values.dtype)
    sensor, mean, covariance = next(iter(filter_.sensors.values())), filter_._mean, filter_.start(elapsed)
    mean = mean.expand(len(values), -1)
    F, H = filter_.motion.jacobian(mean, elapsed), sensor.jacobian(mean)
    Q, R = filter_.motion.noise(elapsed), sensor.noise(elapsed)
    made, predicted = [], []
    for value in values.unbind(1):
        mean, covariance = (F @ mean[..., None])[..., 0], F @ covariance @ F.mT + Q
        predicted.append((mean, covariance))
        gain = covariance @ H.mT @ torch.linalg.inv(H @ covariance @ H.mT + R)
        mean = mean + (gain @ (value[..., None] - H @ mean[..., None]))[..., 0]
        covariance = covariance - gain @ H @ covariance
        made.append((mean, covariance))
    smooth = [made[-1]]
    for (mean, covariance), (ahead, wide) in zip(made[-2::-1], predicted[:0:-1], strict=True):
        gain = covariance @ F.mT @ torch.linalg.inv(wide)
        later, narrow = smooth[0]
        mean = mean + (gain @ (later - ahead)[..., None])[..., 0]
        smooth.insert(0, (mean, covariance + gain @ (narrow - wide) @ gain.mT))
    return made, smooth
