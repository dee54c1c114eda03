"""Simulated drives as rows of windows, and a filter that knows their noise."""

import torch

from mambats.estimators.inertial import InertialFilter, Start
from mambats.estimators.noise import ConstantNoise, RandomWalk
from mambats.series import SensorRows
from mambats_datasets.synthetic.robot import SimulatedRobots

START = Start(tilt=0.02, heading=0.05, velocity=0.1, position=1.0, gyro_bias=0.01, accelerometer_bias=0.1)


def rows_of(reading, length_ns, shift_ns=0):
    """Rows of a simulated sensor within a window that starts at true time 0."""
    stamps = (reading.ticks.stamp * 1e9).round().long() - shift_ns
    mask = reading.ticks.present & (stamps <= length_ns)
    values = torch.where(mask[..., None], reading.values, 0.0)
    return SensorRows(values, mask, torch.ones_like(values[..., 0]), torch.where(mask, stamps, 0))


def asking(batch, stamps_ns):
    """Rows of a stream of no channels."""
    stamps = torch.as_tensor(stamps_ns).expand(batch, -1)
    return SensorRows(
        torch.zeros(*stamps.shape, 0), torch.ones_like(stamps).bool(), torch.ones(stamps.shape), stamps.contiguous()
    )


def drive(batch=3, seconds=4.0, seed=0, shift_ns=0, **robots):
    """A batch of drives: the simulator's answer, rows by stream, length."""
    source = SimulatedRobots(duration=seconds, **robots)
    made = source.batch(batch, torch.Generator().manual_seed(seed))
    length_ns = int(seconds * 1e9)
    rows = {name: rows_of(r, length_ns, shift_ns if name == "imu" else 0) for name, r in made.readings.items()}
    return made, rows, length_ns


def navigator(*names, dtype=torch.float64, **settings):
    """A filter with noises of the simulator's size, of the streams named."""
    noise = {
        "imu": RandomWalk([1.7e-4, 2e-3, 2e-5, 3e-3]),
        "gnss": ConstantNoise([0.5, 0.5, 1.0]),
        "wheel": ConstantNoise([0.02, 0.01]),
        "rolling": ConstantNoise([0.02, 0.02]),
        "still": ConstantNoise([0.01] * 3),
        "barometer": ConstantNoise([0.3]),
        "scale": ConstantNoise([0.01, 0.01]),
        "wander": ConstantNoise([1.5, 1.5, 3.0]),
    }
    return InertialFilter({name: noise[name] for name in ("imu", *names)}, **settings).to(dtype)


def started(model, motion, deviations=START):
    """The state at true time 0, known as well as `deviations` says, at the truth."""
    return model.aligned(motion.quaternion[:, 0], motion.velocity[:, 0], motion.position[:, 0], deviations)
