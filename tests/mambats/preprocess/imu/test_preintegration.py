import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mambats.preprocess.imu import Preintegration, compose

spec = importlib.util.spec_from_file_location("make_gtsam", Path(__file__).with_name("make_gtsam.py"))
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)


def batch(*arrays, dtype=torch.float64):
    return tuple(torch.as_tensor(array, dtype=dtype)[None] for array in arrays)


def recursion(rates, forces, dt, bias, noise):
    """Forster et al., eq. 35 and A.7-A.9, one sample after another."""
    turn, speed, place, cov = np.eye(3), np.zeros(3), np.zeros(3), np.zeros((9, 9))
    for w, a, h in zip(rates - bias[:3], forces - bias[3:], dt, strict=True):
        angle = w * h
        step = Rotation.from_rotvec(angle).as_matrix()
        size, hat = np.linalg.norm(angle), cross(angle)
        right = np.eye(3) - (1 - np.cos(size)) / size**2 * hat + (size - np.sin(size)) / size**3 * hat @ hat
        A, B, C = np.eye(9), np.zeros((9, 3)), np.zeros((9, 3))
        A[:3, :3] = step.T
        A[3:6, :3], A[6:, :3], A[6:, 3:6] = -turn @ cross(a) * h, -turn @ cross(a) * h * h / 2, np.eye(3) * h
        B[:3], C[3:6], C[6:] = right * h, turn * h, turn * h * h / 2
        cov = A @ cov @ A.T + (noise[0] ** 2 * B @ B.T + noise[1] ** 2 * C @ C.T) / h
        cov[6:, 6:] += noise[2] ** 2 * h * np.eye(3)
        place = place + speed * h + turn @ a * h * h / 2
        speed, turn = speed + turn @ a * h, turn @ step
    return turn, speed, place, cov


def cross(v):
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def close(a, b, tolerance=1e-10):
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max().clamp_min(1e-300)


def same(a, b, tolerance=1e-10):
    for one, other in zip(a, b, strict=True):
        close(one, other, tolerance)


def test_numbers_of_gtsam():
    rates, forces, dt, bias = peer.samples()
    said = json.loads(Path(__file__).with_name("gtsam.json").read_text())
    made = Preintegration(*peer.NOISE)(*batch(rates, forces, dt, bias))
    turn = Rotation.from_quat(made.quaternion[0].numpy()).as_matrix()
    close(turn, np.array(said["rotation"]), 1e-13)
    close(made.velocity[0], np.array(said["velocity"]), 1e-13)
    close(made.position[0], np.array(said["position"]), 1e-13)
    close(made.covariance[0], np.array(said["covariance"]), 1e-12)
    close(made.jacobian[0], np.array(said["jacobian"]), 1e-9)  # theirs are differences


@pytest.mark.slow
def test_gtsam_itself():
    pytest.importorskip("gtsam")
    for seed in range(20):
        rates, forces, dt, bias = peer.samples(300, seed)
        theirs = peer.measured(rates, forces, dt, bias)
        made = Preintegration(*peer.NOISE)(*batch(rates, forces, dt, bias))
        close(made.position[0], theirs.deltaPij(), 1e-12)
        close(made.covariance[0], peer.covariance(theirs), 1e-12)
        close(made.jacobian[0], peer.jacobian(theirs, bias), 1e-8)


@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(-4, 2))
def test_the_recursion_of_the_paper(seed, count, size):
    rates, forces, dt, bias = peer.samples(max(count, 6), seed)
    rates, noise = rates * 10**size, (1e-3, 2e-2, 1e-3)
    turn, speed, place, cov = recursion(rates, forces, dt, bias, noise)
    made = Preintegration(*noise)(*batch(rates, forces, dt, bias))
    close(Rotation.from_quat(made.quaternion[0].numpy()).as_matrix(), turn)
    close(made.velocity[0], speed)
    close(made.position[0], place)
    close(made.covariance[0], cov)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_any_cut_gives_the_same(seed, cuts):
    many = [peer.samples(sum(cuts) + 6, seed + k) for k in range(3)]
    rates, forces, dt, bias = (torch.as_tensor(np.stack(column)) for column in zip(*many, strict=True))
    method = Preintegration(1e-3, 2e-2, 1e-3)
    whole = method(rates, forces, dt, bias)
    state, at = method.start(3, bias), 0
    for cut in [*cuts, 6]:
        state = method(rates[:, at : at + cut], forces[:, at : at + cut], dt[:, at : at + cut], state=state)
        at += cut
    same(state, whole)
    state = method.start(3, bias)
    for t in range(rates.shape[1]):
        state = method.step(rates[:, t], forces[:, t], dt[:, t], state)
    same(state, whole)
    half = [method(rates[:, part], forces[:, part], dt[:, part], bias) for part in (slice(0, 3), slice(3, None))]
    same(compose(*half), whole)


def test_motion_alone_is_the_same_motion():
    rates, forces, dt, bias = batch(*peer.samples())
    whole, alone = (Preintegration(errors=errors)(rates, forces, dt, bias) for errors in (True, False))
    same(alone[:4], whole[:4], 1e-14)
    assert not alone.covariance.any() and not alone.jacobian.any()


def test_padding_counts_nothing():
    rates, forces, dt, bias = batch(*peer.samples())
    more = [torch.cat([rows, torch.ones_like(rows)], 1) for rows in (rates, forces)]
    padded = Preintegration()(*more, torch.cat([dt, torch.zeros_like(dt)], 1), bias)
    same(padded, Preintegration()(rates, forces, dt, bias), 1e-12)


def test_correction_is_right_to_first_order():
    rates, forces, dt, bias = batch(*peer.samples())
    method, change = Preintegration(), torch.tensor([[1.0, -2, 1, 3, -1, 2]]) * 1e-3
    errors = []
    for scale in (1.0, 0.5):
        exact = method(rates, forces, dt, bias + change * scale)
        guess = method(rates, forces, dt, bias).corrected(bias + change * scale)
        errors.append(float((exact.position - guess.position).norm() + (exact.quaternion - guess.quaternion).norm()))
    assert errors[1] < 0.3 * errors[0] < 1e-4  # falls with the square


def test_prediction_falls_and_flies():
    rest = torch.zeros(1, 100, 3, dtype=torch.float64)
    up = torch.tensor([0.0, 0, 9.81], dtype=torch.float64).expand(1, 100, 3)
    dt = torch.full((1, 100), 0.01, dtype=torch.float64)
    turn, speed, start = (torch.tensor([row]).double() for row in ([0, 0, 3, 4], [1, 2, 0], [5, 0, 1]))
    _, v, p = Preintegration()(rest, up, dt).predict(turn / 5, speed, start)
    close(v, speed, 1e-9)
    close(p, torch.tensor([[6.0, 2, 1]], dtype=torch.float64), 1e-9)


def test_noise_is_as_large_as_it_says():
    """2000 noisy copies spread as the covariance says: the mean squared error in its own units is 9."""
    rates, forces, dt, _ = batch(*peer.samples(60))
    noise, copies = (3e-3, 4e-2, 0.0), 2000
    method = Preintegration(*noise)
    truth = method(rates, forces, dt)
    make = torch.Generator().manual_seed(1)
    spread = [torch.randn(copies, 60, 3, generator=make, dtype=torch.float64) / dt[..., None].sqrt() for _ in range(2)]
    made = method(rates + noise[0] * spread[0], forces + noise[1] * spread[1], dt.expand(copies, -1))
    turn = Rotation.from_quat(truth.quaternion[0].numpy()).inv() * Rotation.from_quat(made.quaternion.numpy())
    error = torch.cat(
        [torch.as_tensor(turn.as_rotvec()), made.velocity - truth.velocity, made.position - truth.position], 1
    )
    nees = (error * torch.linalg.solve(truth.covariance[0], error.T).T).sum(-1)
    assert abs(float(nees.mean()) - 9) < 4 * (2 * 9 / copies) ** 0.5


def test_float32_is_near_and_gradients_flow():
    rates, forces, dt, bias = batch(*peer.samples())
    exact = Preintegration()(rates, forces, dt, bias)
    near = Preintegration()(*(part.float() for part in (rates, forces, dt, bias)))
    assert near.covariance.dtype == torch.float32
    same(tuple(part.double() for part in near), exact, 2e-5)
    bias.requires_grad_()
    Preintegration()(rates, forces, dt, bias).position[0, 0].backward()
    close(bias.grad[0], exact.jacobian[0, 6], 1e-9)


def test_nothing_is_nothing():
    empty = torch.zeros(2, 0, 3)
    made = Preintegration()(empty, empty, torch.zeros(2, 0))
    assert made.duration.tolist() == [0, 0] and made.quaternion[:, 3].tolist() == [1, 1]
    none = Preintegration()(torch.zeros(0, 5, 3), torch.zeros(0, 5, 3), torch.zeros(0, 5))
    assert none.covariance.shape == (0, 9, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, a, d: (g[..., :2], a, d), r"need \(B, T, 3\)"),
        (lambda g, a, d: (g, a, d[:, 1:]), r"dt \(2, 4\)"),
        (lambda g, a, d: (g, a.float(), d), "one floating dtype"),
        (lambda g, a, d: (g, a, d, torch.zeros(2, 3).double()), r"needed \(B, 6\)"),
    ],
)
def test_refusals(change, message):
    parts = torch.zeros(2, 5, 3).double(), torch.zeros(2, 5, 3).double(), torch.zeros(2, 5).double()
    with pytest.raises(ValueError, match=message):
        Preintegration()(*change(*parts))
    with pytest.raises(ValueError, match="0 or more"):
        Preintegration(gyro_noise=-1)
