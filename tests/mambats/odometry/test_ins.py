"""Outages on a drive, and an inertial unit left alone."""

import numpy as np
import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.estimators import ConstantNoise, InertialFilter, RandomWalk, Start
from mambats.odometry.ins.bias import LearnedBias, constant_bias, filtered_bias
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.fit import fit, loss
from mambats.odometry.ins.flight import Flight, drift
from mambats.odometry.ins.outage import began, follow, outages, windows
from mambats.series import Recording, Stream
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.gnss import Gnss
from mambats_datasets.synthetic.grade import GRADES
from mambats_datasets.synthetic.robot import SimulatedRobots

GRAVITY = 9.80665


def simulated(kind="car", seconds=40.0, imu="tactical"):
    gnss = Gnss(timing=Timing(1.0), noise=(0.1, 0.1), wander=(0.0, 0.0), outage=(0.0, 1.0), multipath=(0.0, 1.0))
    source = SimulatedRobots(kind, series=1, duration=seconds, sensors={"imu": GRADES[imu], "gnss": gnss}, seed=3)
    return source.recordings()[0]


def navigator():
    noise = {
        "imu": RandomWalk([1e-4, 2e-3, 1e-6, 1e-4]),
        "gnss": ConstantNoise([0.1, 0.1, 0.1]),
        "rolling": ConstantNoise([0.05, 0.05]),
    }
    start = Start(0.1, 0.5, 2.0, 0.5, 1e-3, 0.02)  # aligned while it speeds up and turns
    return InertialFilter(noise, gravity=GRAVITY, start=start).double()


def test_outages_cost_what_the_covariance_says_and_the_constraint_pays():
    drive, model = Drive.of(simulated()), navigator()
    assert drive.measured.all()
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), 500_000_000, len(drive.fixes) - 1)
        which = windows(drive, 15, len(drive.fixes) - 1, 10)
        free = outages(model, drive, states, which, 10, None)
        held = outages(model, drive, states, which, 10, 500_000_000)
    assert len(which) == len(drive.fixes) - 1 - 15 - 10 + 1
    assert held.error.norm(dim=-1).mean() < free.error.norm(dim=-1).mean() < 20
    assert float(held.nees(0.1).mean()) < 10


def test_holes_filled_with_a_line_are_found():
    recording = simulated(seconds=10.0)
    imu = recording.streams["imu"]
    values = imu.values.copy()
    ramp = np.linspace(0, 1, 100)[:, None]
    values[500:600] = values[499] + ramp * (values[600] - values[499])
    streams = recording.streams | {"imu": Stream(imu.stamps, values, imu.channels, None, imu.units, imu.frame)}
    measured = Drive.of(Recording("holes", streams, {})).measured
    assert not measured[505:595].any() and measured[:490].all() and measured[610:].all()
    rows = Drive.of(Recording("holes", streams, {})).window(torch.zeros(1, dtype=torch.int64), 5 * 10**9)
    assert not rows["imu"].observed.all()


@pytest.mark.slow
def test_fitting_lowers_the_cost():
    drive, model = Drive.of(simulated()), navigator()
    model.noises["gnss"].log_diagonal.data += 2.0
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), 10**9, 13)
    starts = torch.arange(9, 12)

    def cost(which):
        return loss(model, drive, states, which, 10**9, 0.1, (3, 5))

    course = fit(list(model.noises.parameters()), cost, starts, 3, 0.2, 3, 0)
    assert course[-1] < course[0]


def flown(imu="consumer"):
    source = SimulatedRobots("drone", series=1, duration=30.0, imu=imu, sensors=("imu",), seed=1)
    return source.recordings()[0]


def test_reckoning_with_the_true_bias_stays_near_and_without_does_not():
    flight = Flight.of(flown())
    starts = flight.starts((0.0, 1.0), 5)
    truth = flight.truth(starts, 5)
    found, at = filtered_bias(flight, GRAVITY, 0.5)
    # Behind the first seconds, in which the filter has seen nothing.
    late = starts >= 10 * flight.rate
    known = found[torch.searchsorted(at, starts, right=True) - 1]
    _, _, naive = drift(flight.reckon(starts, 5, torch.zeros(6).double(), GRAVITY), truth)
    _, _, told = drift(flight.reckon(starts, 5, known[:, None], GRAVITY), truth)
    assert told[late, -1].mean() < 0.5 * naive[late, -1].mean()
    fitted = constant_bias(flight, starts, 5, GRAVITY, rounds=5)
    _, _, best = drift(flight.reckon(starts, 5, fitted, GRAVITY), truth)
    assert best[:, -1].mean() < naive[:, -1].mean()


def test_an_untrained_bias_is_the_known_one_and_causal():
    torch.manual_seed(0)
    model = LearnedBias(CausalEncoder(6, width=8, layers=1), group=5).double()
    readings, known = torch.randn(2, 40, 6).double(), torch.randn(2, 6).double()
    assert torch.equal(model(readings, known, 10), known[:, None].expand(2, 30, 6))
    torch.nn.init.normal_(model.head.weight)
    other = readings.clone()
    other[:, 30:] += 1.0
    one, two = model(readings, known, 10), model(other, known, 10)
    assert torch.equal(one[:, :25], two[:, :25]) and not torch.equal(one[:, 25:], two[:, 25:])


def test_what_is_missing_is_said():
    recording = simulated(seconds=5.0)
    with pytest.raises(ValueError, match="gnss"):
        Drive.of(Recording("no fixes", {"imu": recording.streams["imu"]}, {}))
    with pytest.raises(ValueError, match="true poses"):
        Flight.of(recording.__class__("no truth", recording.streams, {}))
    with pytest.raises(ValueError, match="need 6"):
        LearnedBias(CausalEncoder(3, width=8, layers=1))


@pytest.mark.slow
def test_a_real_drive_and_a_real_flight_are_read(data_root):
    from mambats_datasets import EuRoC, GtsamINS

    drive = Drive.of(GtsamINS(str(data_root / "fusion")).recordings()[0])
    edges = (drive.measured[1:] != drive.measured[:-1]).sum()
    assert edges == 16  # eight holes of 1.6 s that the file's makers filled with lines
    flight = Flight.of(EuRoC(str(data_root / "fusion"), faults="repair").recordings()[0])
    starts = flight.starts((0.5, 1.0), 1)
    _, _, way = drift(flight.reckon(starts, 1, torch.zeros(6).double(), 9.81), flight.truth(starts, 1))
    assert way[:, 0].mean() < 0.3
