"""Write gtsam.json, what gtsam 4.3.0 says of 40 samples.

python tests/mambats/preprocess/imu/make_gtsam.py
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

NOISE = (1.7e-3, 2e-2, 1e-3)


def samples(count=40, seed=0):
    """Rates, forces, dt of unequal length (one of them long, so that turns are large), bias gyroscope accelerometer."""
    rng = np.random.default_rng(seed)
    rates = rng.normal(size=(count, 3)) * 2 + [1, 0, 2]
    forces = rng.normal(size=(count, 3)) * 3 + [0, 0, 9.8]
    dt = rng.uniform(0.002, 0.01, count)
    dt[5] = 0.4
    return rates, forces, dt, np.array([0.01, -0.02, 0.03, 0.1, 0.2, -0.1])


def measured(rates, forces, dt, bias):
    import gtsam

    params = gtsam.PreintegrationParams.MakeSharedU(9.81)
    gyro, force, integration = NOISE
    params.setGyroscopeCovariance(np.eye(3) * gyro**2)
    params.setAccelerometerCovariance(np.eye(3) * force**2)
    params.setIntegrationCovariance(np.eye(3) * integration**2)
    made = gtsam.PreintegratedImuMeasurementsManifold(params, gtsam.imuBias.ConstantBias(bias[3:], bias[:3]))
    for row in zip(forces, rates, dt, strict=True):
        made.integrateMeasurement(*row)
    return made


def covariance(made):
    """In our order and frame: gtsam has rotation, position, velocity, the last two in the last frame."""
    turn, place = made.deltaRij().matrix(), np.zeros((9, 9))
    place[:3, :3], place[3:6, 6:], place[6:, 3:6] = np.eye(3), turn, turn
    return place @ made.preintMeasCov() @ place.T


def jacobian(made, bias, step=1e-4):
    """By the biases, out of gtsam's own first-order correction (it hands no Jacobian out)."""
    import gtsam

    rest = gtsam.NavState()
    columns = []
    for k in range(6):
        sides = []
        for sign in (1, -1):
            other = bias + sign * step * (np.arange(6) == k)
            end = made.predict(rest, gtsam.imuBias.ConstantBias(other[3:], other[:3]))
            turn = made.deltaRij().matrix().T @ end.pose().rotation().matrix()
            sides.append(np.concatenate([Rotation.from_matrix(turn).as_rotvec(), end.velocity(), end.position()]))
        columns.append((sides[0] - sides[1]) / (2 * step))
    return np.stack(columns, 1)


def numbers():
    rates, forces, dt, bias = samples()
    made = measured(rates, forces, dt, bias)
    return {
        "rotation": made.deltaRij().matrix().tolist(),
        "velocity": made.deltaVij().tolist(),
        "position": made.deltaPij().tolist(),
        "covariance": covariance(made).tolist(),
        "jacobian": jacobian(made, bias).tolist(),
    }


if __name__ == "__main__":
    Path(__file__).with_name("gtsam.json").write_text(json.dumps(numbers()) + "\n", encoding="utf-8")
