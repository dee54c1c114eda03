"""The inertial filter's promises: consistency, outages, gates, what it refuses."""

import math

import pytest
import torch

from mambats.estimators.inertial import Gate, InertialFilter, Start
from mambats.estimators.noise import ConstantNoise, RandomWalk
from mambats.preprocess.imu import so3
from mambats_datasets.synthetic.gnss import Gnss
from mambats_datasets.synthetic.imu import Imu, Triad
from mambats_datasets.synthetic.wheel import Wheel
from tests.mambats.estimators.inertial_case import asking, drive, navigator, started


def errors_of(track, truth):
    """Rotation, velocity and position errors (B, K, 9): what the truth is beyond the estimate."""
    turn = so3.product(so3.conjugate(track.quaternion), truth.quaternion)
    turn = 2 * turn[..., :3] * turn[..., 3:].sign()
    return torch.cat([turn, truth.velocity - track.velocity, truth.position - track.position], -1)


def known_robots():
    """Sensors with white noise and walks of the biases, all of it in the filter's model."""
    return {
        "imu": Imu(Triad(noise=1e-3, walk=1e-4), Triad(noise=1e-2, walk=1e-3)),
        "gnss": Gnss(noise=(0.5, 1.0), wander=(0.0, 0.0), outage=(0.0, 1.0), multipath=(0.0, 1.0)),
        "wheel": Wheel(noise=(0.05, 0.05), scale=(0.0, 0.0), slip=(0.0, 1.0)),
    }


def test_covariance_is_honest_where_the_noise_is_known():
    made, rows, length = drive(batch=200, seconds=8.0, sensors=known_robots(), shift_ns=2_500_000)
    noise = {
        "imu": RandomWalk([1e-3, 1e-2, 1e-4, 1e-3]),
        "gnss": ConstantNoise([0.5, 0.5, 1.0]),
        "wheel": ConstantNoise([0.05, 0.052]),  # the gyroscope's noise stands in the predicted rate
    }
    model = InertialFilter(noise, latency=0.1, gate=Gate(1.0), wheel_period=0.2).double()
    rows["wheel"] = type(w := rows["wheel"])(w.values[:, ::10], w.mask[:, ::10], w.gaps[:, ::10], w.stamps[:, ::10])
    exact = Start(1e-3, 1e-3, 1e-3, 1e-3, 1e-6, 1e-6)
    start, spread = started(model, made.motion, exact), Start(0.02, 0.02, 0.2, 1.0, 1e-6, 1e-6)
    start = start._replace(covariance=started(model, made.motion, spread).covariance)
    drawn = torch.randn(200, 15).double() * start.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    start = start._replace(
        quaternion=so3.product(start.quaternion, so3.exponential(drawn[:, :3])),
        velocity=start.velocity + drawn[:, 3:6],
        position=start.position + drawn[:, 6:9],
    )
    with torch.no_grad():
        track, _ = model.run(rows, length, start)
    error = errors_of(track, made.trajectory(track.stamps.double() * 1e-9))
    for k in (5, len(error[0]) // 2, -1):
        nees = (error[:, k, None] @ torch.linalg.solve(track.covariance[:, k, :9, :9], error[:, k, :, None])).flatten()
        # 200 x 9 degrees of freedom: four standard deviations of the mean are 0.13.
        assert abs(float(nees.mean()) / 9 - 1) < 0.15, k
    for name, told in track.innovations.items():
        share = float(told.nis[told.used].mean()) / told.residual.shape[-1]
        assert 0.85 < share < 1.15, name


def test_equals_gtsam():
    gtsam = pytest.importorskip("gtsam")
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(1, 50, 6, generator=generator).double() + torch.tensor([0, 0, 0, 0, 0, 9.8])
    settings = gtsam.PreintegrationParams.MakeSharedU(9.80665)
    made = gtsam.PreintegratedImuMeasurementsManifold(settings, gtsam.imuBias.ConstantBias())
    model = navigator()
    turn = torch.nn.functional.normalize(torch.tensor([[0.1, -0.2, 0.3, 0.9]], dtype=torch.float64))
    state = model.aligned(turn, torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.zeros(1, 3).double())
    for row in samples[0]:
        made.integrateMeasurement(row[3:].numpy(), row[:3].numpy(), 0.005)
        state, _ = model.update(state, "imu", row[None])
        state = model.predict(state, torch.full((1,), 0.005, dtype=torch.float64))
    x, y, z, w = turn[0].tolist()
    pose = gtsam.Pose3(gtsam.Rot3.Quaternion(w, x, y, z), [0.0, 0.0, 0.0])
    there = made.predict(gtsam.NavState(pose, [1.0, 2.0, 3.0]), gtsam.imuBias.ConstantBias())
    torch.testing.assert_close(state.position[0].detach(), torch.tensor(there.position()), rtol=0, atol=1e-9)
    torch.testing.assert_close(state.velocity[0].detach(), torch.tensor(there.velocity()), rtol=0, atol=1e-9)
    turned = so3.matrix(state.quaternion)[0].detach()
    torch.testing.assert_close(turned, torch.tensor(there.attitude().matrix()), rtol=0, atol=1e-9)


def test_an_outage_widens_the_position_as_noise_of_the_accelerometer_does():
    model = navigator()
    with torch.no_grad():
        model.noises["imu"].log_density[[0, 2, 3]] = -30.0
        state = model.init_state(1)
        state = state._replace(covariance=state.covariance * 1e-12)
        for seconds in (1.0, 9.0):
            state = model.predict(state, torch.tensor([seconds]).double())
    # White noise of density a integrated twice: a t^1.5 / sqrt 3.
    assert state.covariance[0, 6, 6].sqrt() == pytest.approx(2e-3 * 10**1.5 / math.sqrt(3), rel=1e-3)


def test_rejections_in_a_row_widen_the_covariance_until_fixes_pass():
    model = navigator("gnss", gate=Gate(0.99, patience=3))
    state = model.init_state(2)
    state = state._replace(covariance=state.covariance * 1e-4)
    far = torch.tensor([[500.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).double()
    used = []
    for _ in range(60):
        state, told = model.update(state, "gnss", far)
        used.append(told.used.tolist())
    assert used[:12] == [[False, True]] * 12 and used[-1] == [True, True]
    assert (state.position[0] - far[0]).norm() < 50
    assert torch.linalg.eigvalsh(state.covariance).min() > 0


def test_masked_rows_keep_their_state_to_the_bit():
    model, mask = navigator("gnss", "wheel"), torch.tensor([True, False])
    state = model.predict(model.init_state(2), torch.tensor([0.1, 0.0]).double())
    after, told = model.update(state, "gnss", torch.ones(2, 3).double(), mask=mask)
    assert told.used.tolist() == [True, False]
    for new, old in zip(after, state, strict=True):
        assert torch.equal(new[1], old[1])
    again = model.predict(after, torch.zeros(2).double())
    assert all(torch.equal(a, b) for a, b in zip(again, after, strict=True))


def test_numbers_that_are_not_finite_are_not_measured():
    model = navigator("gnss", "wheel")
    state = model.init_state(1)
    for name, width in (("imu", 6), ("gnss", 3), ("wheel", 2)):
        after, told = model.update(state, name, torch.full((1, width), torch.nan).double())
        assert not told.used.any() and all(torch.equal(a, b) for a, b in zip(after, state, strict=True))


@pytest.mark.parametrize("elapsed", [0.0, 1e-9, 3600.0])
def test_any_time_step_leaves_a_covariance(elapsed):
    model = navigator("gnss", "wander")
    state = model.init_state(1)
    state, _ = model.update(state, "imu", torch.tensor([[0.1, 0.2, -0.1, 0.3, 0.2, 9.7]]).double())
    state = model.predict(state, torch.tensor([elapsed]).double())
    state, _ = model.update(state, "gnss", torch.zeros(1, 3).double())
    assert all(part.isfinite().all() for part in state)
    assert torch.linalg.eigvalsh(state.covariance).min() > 0


def test_bad_input_is_named():
    model = navigator("gnss", "wheel")
    _, rows, length = drive(batch=1, seconds=1.0)
    state = model.init_state(1)
    with pytest.raises(ValueError, match="`imu`"):
        model.run({"gnss": rows["gnss"]}, length)
    with pytest.raises(ValueError, match="lidar"):
        model.run(rows | {"lidar": rows["gnss"]}, length)
    with pytest.raises(ValueError, match="6 channels"):
        model.run(rows | {"gnss": rows["imu"]}, length)
    with pytest.raises(ValueError, match="beyond the window"):
        model.run(rows, length // 2)
    with pytest.raises(ValueError, match="no moment"):
        model.run({"imu": rows["imu"]}, length)
    with pytest.raises(ValueError, match="lidar"):
        model.update(state, "lidar", torch.zeros(1, 3).double())
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        model.update(state, "gnss", torch.zeros(2, 3).double())
    with pytest.raises(ValueError, match="0 or more"):
        model.predict(state, torch.tensor([-1.0]).double())
    with pytest.raises(ValueError, match="not finite"):
        model.aligned(torch.full((1, 4), torch.nan), torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="zero"):
        model.aligned(torch.zeros(1, 4), torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="`imu`"):
        InertialFilter({"gnss": ConstantNoise([1.0] * 3)})
    with pytest.raises(ValueError, match="4"):
        InertialFilter({"imu": ConstantNoise([1.0] * 3)})
    with pytest.raises(ValueError, match="wheel"):
        InertialFilter({"imu": RandomWalk([1e-3] * 4), "scale": ConstantNoise([0.01, 0.01])})


def test_empty_and_single_row_streams_are_taken():
    model = navigator("gnss", "wheel")
    _, rows, length = drive(batch=2, seconds=1.0)
    none = type(g := rows["gnss"])(g.values[:, :0], g.mask[:, :0], g.gaps[:, :0], g.stamps[:, :0])
    one = type(w := rows["wheel"])(w.values[:, 5:6], w.mask[:, 5:6], w.gaps[:, 5:6], w.stamps[:, 5:6])
    track, end = model.run({"imu": rows["imu"], "gnss": none, "wheel": one, "ask": asking(2, [10, length])}, length)
    assert track.position.shape[1] == 3 and list(track.innovations) == ["wheel"]
    assert all(part.isfinite().all() for part in end)
    assert track.at(torch.tensor([[5, 10, length]] * 2)).tolist() == [[-1, 0, 2]] * 2


def test_covariance_stays_positive_definite_in_float32():
    model, generator = navigator("gnss", "wheel", "rolling", dtype=torch.float32), torch.Generator().manual_seed(0)
    state = model.init_state(50)
    with torch.no_grad():
        for k in range(200):
            drawn = torch.randn(50, 6, generator=generator)
            state, _ = model.update(state, "imu", drawn * 3 + torch.tensor([0, 0, 0, 0, 0, 9.8]))
            state = model.predict(state, torch.rand(50, generator=generator) ** 8 * 100)
            name = ("gnss", "wheel", "rolling")[k % 3]
            state, told = model.update(state, name, drawn[:, : model.streams[name]] * 10)
            assert told.nis.isfinite().all() and state.position.isfinite().all()
    # Of the covariance scaled to unit diagonal: in metres and rad/s squared together float32 has no digits left.
    deviation = state.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    scaled = state.covariance / deviation[:, :, None] / deviation[:, None]
    assert torch.linalg.eigvalsh(scaled.double()).min() > -1e-5


def test_readings_that_were_guessed_make_less_sure():
    made, rows, length = drive(batch=1, seconds=1.0)
    model, imu = navigator(), rows["imu"]
    start = started(model, made.motion)
    seen = torch.ones_like(imu.values, dtype=torch.bool)
    seen[:, 50:150] = False
    guessed = type(imu)(imu.values, imu.mask, imu.gaps, imu.stamps, seen)
    with torch.no_grad():
        ask = asking(1, [length])
        sure, _ = model.run({"imu": imu, "ask": ask}, length, start)
        unsure, _ = model.run({"imu": guessed, "ask": ask}, length, start)
    assert torch.equal(sure.position, unsure.position)
    assert (unsure.covariance - sure.covariance).diagonal(dim1=-2, dim2=-1)[..., :9].min() > 0


def test_latency_is_found_by_likelihood():
    sensors = known_robots() | {
        "gnss": Gnss(noise=(0.05, 0.05), wander=(0.0, 0.0), outage=(0.0, 1), multipath=(0.0, 1))
    }
    made, rows, length = drive(batch=6, seconds=4.0, sensors=sensors, shift_ns=2_500_000)
    model = InertialFilter(
        {"imu": RandomWalk([1e-3, 1e-2, 1e-4, 1e-3]), "gnss": ConstantNoise([0.05] * 3)}, gate=Gate(1.0)
    ).double()
    start = started(model, made.motion, Start(1e-3, 1e-3, 1e-2, 1e-2, 1e-4, 1e-3))
    search = torch.optim.LBFGS([model.delay], max_iter=6, line_search_fn="strong_wolfe")

    def lower():
        search.zero_grad()
        told = model.run({"imu": rows["imu"], "gnss": rows["gnss"]}, length, start)[0].innovations["gnss"]
        loss = -(told.log_likelihood * told.used).sum()
        loss.backward()
        return loss

    search.step(lower)
    assert float(model.delay.detach()) == pytest.approx(0.1, abs=0.02)  # the simulator's, s


@pytest.mark.parametrize("build", [lambda: Gate(0.0), lambda: Gate(patience=0), lambda: Start(tilt=0.0)])
def test_settings_out_of_range_are_refused(build):
    with pytest.raises(ValueError, match="need"):
        build()
