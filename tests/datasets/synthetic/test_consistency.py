"""The simulator as the oracle: what estimators say of their errors, held against errors that are known."""

from dataclasses import dataclass

import torch

from mambats.preprocess.clock import ClockAlignment
from mambats.preprocess.imu import Preintegration
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.imu import Imu, Triad
from mambats_datasets.synthetic.motion import GRAVITY, Motion, compose, unrotate
from mambats_datasets.synthetic.robot import START, SimulatedRobots
from mambats_datasets.synthetic.trajectory import Trajectory, random_trajectory

RATE = 200.0


@dataclass
class Later:
    """The same trajectories half a sample later: each sample then stands for the interval around it."""

    going: Trajectory
    batch: int
    duration: float

    def __call__(self, t: torch.Tensor) -> Motion:
        return self.going(t + 0.5 / RATE)


def test_preintegrated_errors_are_as_large_as_their_covariance_says():
    """NEES of 1 s at noise of 0.1 deg/s and 2 mg by root Hz; 1000 drives know the mean of 9 to 1.5 per cent."""
    count, noise = 1000, (1.7e-3, 2e-2)
    going = random_trajectory("robot", count, 1.0, torch.Generator().manual_seed(0))
    imu = Imu(Triad(noise[0]), Triad(noise[1]), Timing(RATE))
    values = imu.read(Later(going, count, 1.0), torch.Generator().manual_seed(1)).values
    dt = torch.full(values.shape[:2], 1 / RATE, dtype=torch.float64)
    found = Preintegration(*noise)(values[..., :3], values[..., 3:], dt)
    ends = going(torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(count, 2))
    first, last = ends.quaternion.unbind(1)
    turned, velocity, place = found.predict(first, ends.velocity[:, 0], ends.position[:, 0], GRAVITY)
    back = turned * turned.new_tensor((-1.0, -1.0, -1.0, 1.0))
    turn = compose(back, last)
    parts = [2 * turn[:, :3] * turn[:, 3:].sign()]
    for true, guess in ((ends.velocity, velocity), (ends.position, place)):
        parts.append(unrotate(first[:, None], (true[:, 1] - guess)[:, None])[:, 0])
    error = torch.cat(parts, 1)[..., None]
    nees = (error.mT @ torch.linalg.solve(found.covariance, error)).mean() / 9
    assert abs(float(nees) - 1) < 0.05


def test_a_wrong_clock_is_found_where_the_robot_turns():
    robots = SimulatedRobots("drone", 1, 60.0, sensors=["imu"], clocks={"imu": (0.0373, 100.0)})
    recording = robots.recordings()[0]
    found = ClockAlignment()(recording.truth["rate"], recording.streams["imu"]).at(START)
    assert abs(found.offset - recording.static["imu_offset"]) < 1e-3
    assert abs(found.drift * 1e6 - recording.static["imu_drift"]) < 10
