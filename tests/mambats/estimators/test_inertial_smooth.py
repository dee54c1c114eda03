"""Smoothing and alignment."""

import pytest
import torch

from mambats.estimators.inertial import align
from mambats.preprocess.imu import so3
from tests.mambats.estimators.inertial_case import drive, navigator, started


def test_smoothing_halves_the_error_and_stays_honest():
    made, rows, length = drive(batch=12, seconds=8.0, imu="tactical", shift_ns=2_500_000)
    rows["gnss"] = type(g := rows["gnss"])(
        made.trajectory(made.readings["gnss"].ticks.time).position + torch.randn(12, 40, 3).double(),
        g.mask, g.gaps, g.stamps - 100_000_000,
    )  # fmt: skip
    rows = {"imu": rows["imu"], "gnss": rows["gnss"]}
    model = navigator("gnss")
    with torch.no_grad():
        model.noises["gnss"].log_diagonal.fill_(0.0)
        start = started(model, made.motion)
        online, _ = model.run(rows, length, start)
        late = model.smooth(rows, length, start, lag=2.0)
        offline = model.smooth(rows, length, start)
    truth = made.trajectory(online.stamps.double() * 1e-9).position
    errors = [float((track.position - truth).square().mean().sqrt()) for track in (online, late, offline)]
    assert errors[2] < errors[1] < 0.9 * errors[0]
    deviation = offline.covariance.diagonal(dim1=-2, dim2=-1)[..., 6:9]
    assert 0.5 < float(((offline.position - truth).square() / deviation).mean()) < 2.0
    assert torch.equal(offline.position[:, -1], online.position[:, -1])
    torch.testing.assert_close(model.smooth(rows, length, start, lag=100.0).position, offline.position)


def test_attitude_from_rest_and_from_a_drive():
    about_z, tilt = torch.tensor([[[0.0, 0.0, 2.0]], [[0.1, -0.2, 0.0]]]).double()
    turn = so3.product(so3.exponential(about_z), so3.exponential(tilt))
    force = so3.rotate(so3.conjugate(turn), torch.tensor([[0.0, 0.0, 9.8]]).double())
    readings = torch.cat([torch.full((1, 3), 0.01).double(), force], -1)[:, None].expand(-1, 20, -1)
    forward = so3.rotate(turn, torch.tensor([[1.0, 0.0, 0.0]]).double())
    heading = torch.atan2(forward[:, 1], forward[:, 0])
    found, bias = align.resting(readings, heading)
    assert (so3.product(so3.conjugate(found), turn)[:, :3]).norm() < 1e-12
    assert bias[0].tolist() == pytest.approx([0.01] * 3 + [0.0] * 3)
    flat = torch.tensor([[0.0, 0.0, 9.8]]).double()
    found, velocity = align.driving(flat, torch.zeros(1, 3).double(), torch.tensor([[0.0, 4.0, 0.0]]).double(),
                                    torch.tensor([2.0]).double())  # fmt: skip
    assert so3.rotate(found, torch.tensor([[1.0, 0.0, 0.0]]).double())[0].tolist() == pytest.approx([0, 1, 0], abs=1e-9)
    assert velocity[0].tolist() == [0.0, 2.0, 0.0]


def test_what_cannot_be_aligned_is_said():
    one = torch.ones(1).double()
    with pytest.raises(ValueError, match="at rest"):
        align.level(torch.tensor([[0.0, 0.0, 1.0]]).double(), one)
    with pytest.raises(ValueError, match="apart"):
        align.driving(
            torch.tensor([[0.0, 0.0, 9.8]]).double(), torch.zeros(1, 3).double(), torch.zeros(1, 3).double(), one
        )
