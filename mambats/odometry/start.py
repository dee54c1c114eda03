"""Where a run is thought to start: the truth, off by what one would be unsure of."""

from __future__ import annotations

import torch

from mambats.estimators.inertial import Start
from mambats.odometry.navigation import Navigation, truth_at
from mambats.preprocess.imu import so3
from mambats.series import SensorWindow


def drawn_start(window: SensorWindow, deviations: Start, generator: torch.Generator) -> Navigation:
    """Draw where each body of a batch is thought to be at the window's start.

    Args:
        window: With ground truth.
        deviations: Standard deviations of the errors drawn.
        generator: On the CPU.

    Returns:
        Pose and velocity (B, ...) float64; every contestant starts from the same.
    """
    device = window.starts.device
    truth = truth_at(window.truth, torch.zeros(len(window), 1, dtype=torch.int64, device=device))
    truth = Navigation(*(part[:, 0] for part in truth))
    drawn = torch.randn((len(window), 9), generator=generator, dtype=torch.float64)
    error = (drawn * torch.tensor(deviations.numbers[:9], dtype=torch.float64)).to(device)
    quaternion = so3.product(so3.exponential(error[:, :3]), truth.quaternion)  # tilt and heading are the world's
    return truth._replace(
        quaternion=quaternion, velocity=truth.velocity + error[:, 3:6], position=truth.position + error[:, 6:]
    )
