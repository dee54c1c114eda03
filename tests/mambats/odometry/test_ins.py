"""Outages on a drive, and an inertial unit left alone."""

import numpy as np
import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.estimators import ConstantNoise, InertialFilter, RandomWalk, Start
from mambats.odometry.ins.bias import LearnedBias, constant_bias, filtered_bias
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.fit import judge, tune
from mambats.odometry.ins.flight import Flight, drift
from mambats.odometry.ins.outage import Blackout, began, follow, outages
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
        which = torch.arange(15, len(drive.fixes) - 10)
        free = outages(model, drive, states, which, 10, None)
        held = outages(model, drive, states, which, 10, 500_000_000)
    assert free.mask.sum(1).eq(10).all() and free.end().error.shape == (len(which), 1, 3)
    assert held.end().error.norm(dim=-1).mean() < free.end().error.norm(dim=-1).mean() < 20
    assert held.scores(0.1)["nees_per_dimension"] < 10
    error, covariance = held.error[3, 4], held.covariance[3, 4] + 0.01 * torch.eye(3)
    assert torch.isclose(held.nees(0.1)[3, 4], error @ torch.linalg.inv(covariance) @ error / 3)
    told = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(error)
    one = type(held)(error[None, None], held.covariance[3:4, 4:5], torch.ones(1, 1, dtype=torch.bool))
    assert torch.isclose(one.surprise(0.1), -told)


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


def test_fixes_come_for_the_seconds_given_and_then_no_more():
    drive, model = Drive.of(simulated(seconds=15.0)), navigator()
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), 10**9, 5)
        made = outages(model, drive, states, torch.tensor([2, 4]), 4, 10**9, 3)
        late = outages(model, drive, follow(model, drive, states[2], 10**9, 5, 2), torch.tensor([5]), 4, 10**9)
    # Seven fixes: three are given, four are withheld, and scored.
    assert made.mask.sum(1).tolist() == [4, 4]
    torch.testing.assert_close(made.error[0, -4:], late.error[0], rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("off", "helps"), [(-3.0, True), (3.0, False)])
def test_tuning_keeps_the_step_that_validates_best(off, helps):
    """A car believed never to slide is mended; what training makes worse is left as it was."""
    drive, model = Drive.of(simulated()), navigator()
    model.noises["rolling"].log_diagonal.data += off
    blackout, val = Blackout(3, 5, 1.0), torch.arange(24, 30)
    course = tune(model, drive, (torch.arange(9, 14), val), blackout, 4, 0.5, 3, every=2)
    assert course.val[course.best // 2] == min(course.val)
    assert (course.best > 0) is helps
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), blackout.rolling_ns, 30)
    assert float(judge(model, drive, states, val, blackout)) == pytest.approx(min(course.val))


def test_a_blackout_needs_numbers_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        Blackout(lost=0)


def flown(imu="consumer"):
    source = SimulatedRobots("drone", series=1, duration=30.0, imu=imu, sensors=("imu",), seed=1)
    return source.recordings()[0]


def test_reckoning_with_the_true_bias_stays_near_and_without_does_not():
    flight = Flight.of(flown())
    starts = torch.arange(0, len(flight.dt) - 5 * flight.rate, flight.rate)
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
    starts = torch.arange(len(flight.dt) // 2, len(flight.dt) - flight.rate, flight.rate)
    _, _, way = drift(flight.reckon(starts, 1, torch.zeros(6).double(), 9.81), flight.truth(starts, 1))
    assert way[:, 0].mean() < 0.3
