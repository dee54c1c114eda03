import math

import pytest
import torch

from mambats.estimators import ConstantNoise, KalmanFilter, LinearMotion, LinearSensor, WhiteAcceleration, fit_noise
from mambats.estimators.fit import noise_parameters, noise_settings
from mambats.series import SensorRows

SECOND = 10**9
DRIVE, ERROR = 0.7, 1.5


def model(drive: float = 0.1, error: float = 10.0) -> KalmanFilter:
    motion = LinearMotion([[0.0, 1.0], [0.0, 0.0]], WhiteAcceleration([drive]))
    made = KalmanFilter(motion, {"gnss": LinearSensor([[1.0, 0.0]], ConstantNoise([error]))}, ConstantNoise([5.0, 2.0]))
    made.start.requires_grad_(False)
    return made.double()


def density(estimator: KalmanFilter) -> float:
    return float(estimator.motion.noise.log_density.detach().exp())


def deviation(estimator: KalmanFilter) -> float:
    return float(estimator.sensors["gnss"].noise.matrix().detach()) ** 0.5


def simulated(batch: int, steps: int, seed: int) -> tuple[dict[str, SensorRows], int]:
    """Positions of a white acceleration's drives at irregular times."""
    random = torch.Generator().manual_seed(seed)
    source = model(DRIVE, ERROR)
    x = torch.randn(batch, 2, generator=random, dtype=torch.float64) * torch.tensor([5.0, 2.0])
    seconds = torch.rand(batch, steps, generator=random, dtype=torch.float64) + 0.5
    values = list[torch.Tensor]()
    with torch.no_grad():
        for k in range(steps):
            root = torch.linalg.cholesky(source.motion.noise(seconds[:, k]))
            x = source.motion(x, seconds[:, k])
            x = x + (root @ torch.randn(batch, 2, 1, generator=random, dtype=torch.float64))[..., 0]
            values.append(x[:, :1] + ERROR * torch.randn(batch, 1, generator=random, dtype=torch.float64))
    stamps = (seconds.cumsum(1) * 1e9).round().long()
    mask = torch.ones(batch, steps, dtype=torch.bool)
    return {"gnss": SensorRows(torch.stack(values, 1), mask, torch.ones(batch, steps), stamps)}, int(stamps.max())


@pytest.mark.parametrize(
    ("optimizer", "iterations", "rate"), [("lbfgs", 14, None), pytest.param("adam", 60, 0.15, marks=pytest.mark.slow)]
)
def test_noise_that_made_the_data_is_found(optimizer, iterations, rate):
    estimator = model()
    made = fit_noise(estimator, [simulated(100, 12, 0)], optimizer=optimizer, iterations=iterations, rate=rate)
    assert density(estimator) == pytest.approx(DRIVE, rel=0.15)
    assert deviation(estimator) == pytest.approx(ERROR, rel=0.08)
    assert made.nis["gnss"] == pytest.approx(1.0, abs=0.1)
    assert min(made.losses) < made.losses[0] - 0.3
    assert set(made.settings) == {"motion.noise", "sensors.gnss.noise", "start"}
    assert made.settings["motion.noise"].startswith("WhiteAcceleration(density=[0.")


def test_what_is_fixed_stays():
    estimator = model(error=ERROR)
    estimator.sensors["gnss"].noise.requires_grad_(False)
    assert len(noise_parameters(estimator)) == 1
    fit_noise(estimator, [simulated(10, 10, 1)], iterations=3, skip=2)
    assert deviation(estimator) == pytest.approx(ERROR)
    assert density(estimator) != pytest.approx(0.1)
    assert "deviation=[1.5]" in noise_settings(estimator)["sensors.gnss.noise"]


def test_bad_input_is_named():
    rows, length = simulated(2, 3, 0)
    with pytest.raises(ValueError, match="windows are 0"):
        fit_noise(model(), [])
    with pytest.raises(ValueError, match="optimizer 'sgd'"):
        fit_noise(model(), [(rows, length)], optimizer="sgd")
    with pytest.raises(ValueError, match="no noise with parameters"):
        fit_noise(model().requires_grad_(False), [(rows, length)])
    with pytest.raises(ValueError, match="no measurement counts"):
        fit_noise(model(), [(rows, length)], skip=3)
    broken = model()
    with torch.no_grad():
        broken.motion.noise.log_density.fill_(math.nan)
    with pytest.raises((FloatingPointError, torch.linalg.LinAlgError)):
        fit_noise(broken, [(rows, length)])
