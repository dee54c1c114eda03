"""The CUDA Kalman kernel: emulated on the CPU always, and on a GPU where there is one."""

import pytest
import torch

from mambats_kernels import kalman_predict, kalman_step, kalman_update
from mambats_kernels.kalman import reference
from mambats_kernels.kalman.cases import problem
from mambats_kernels.kalman.cuda.launch import cuda_predict, cuda_update
from tests.kernels.emulated import REVERSE, compiler, emulate, thread_order

SLOW = pytest.mark.slow  # each size takes the emulator some seconds to compile
SHAPES = [
    (5, 4, 2),
    pytest.param((21, 10, 7), marks=SLOW),
    pytest.param((3, 20, 18), marks=SLOW),
    pytest.param((3, 1, 1), marks=SLOW),
]
GPU_SHAPES = [(1, 1, 1), (5, 4, 2), (1000, 10, 7), (37, 16, 16), (100, 17, 3), (33, 32, 32), (65536, 10, 7)]


@pytest.fixture
def emulated(monkeypatch):
    if compiler() is None:
        pytest.skip("the emulator needs a C++ compiler")
    emulate(monkeypatch)
    monkeypatch.setattr("mambats_kernels.kalman.cuda.launch._launches", {})


def close(found, wanted, bound: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        size = other.double().abs().max().clamp_min(1.0)
        assert one.shape == other.shape and float((one.double() - other.double()).abs().max() / size) < bound


def right(shape: tuple[int, int, int], shared: bool, dtype: torch.dtype, device: str) -> None:
    given = problem(*shape, shared, holes=True)
    bound = 1e-5 if dtype == torch.float32 else 1e-11
    x, P, z, *model = (v.to(device, dtype) for v in given)
    batch, _, m = shape
    mask = torch.arange(batch) % 3 != 1
    gate = torch.arange(m + 1, dtype=torch.float64) * 1.3
    close(cuda_update(x, P, z, tuple(model), None, None), reference.kalman_step(*given), bound)
    made = cuda_update(x, P, z, (None, None, *model[2:]), mask.to(device), gate.to(device))
    wanted = reference.kalman_update(*given[:3], *given[5:], mask=mask, gate=gate)
    close([v.cpu() for v in made], wanted, bound)
    still = ~made.used
    assert torch.equal(made.mean[still], x[still]) and torch.equal(made.covariance[still], P[still])
    moved = cuda_predict(x, P, *model[:2], mask.to(device))
    close([v.cpu() for v in moved], reference.kalman_predict(*given[:2], *given[3:5], mask=mask), bound)
    assert torch.equal(moved[1][~mask], P[~mask.to(device)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=SLOW)], ids=["f32", "f64"])
def test_emulated_filters_are_right(emulated, shape, dtype):
    right(shape, shape[0] % 2 == 0, dtype, "cpu")


def test_the_order_of_threads_does_not_matter(emulated):
    x, P, z, *model = (v.float() for v in problem(5, 4, 2, True))
    one = cuda_update(x, P, z, tuple(model), None, None)
    with thread_order(REVERSE):
        other = cuda_update(x, P, z, tuple(model), None, None)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_emulated_pivots_lost_in_rounding_are_raised(emulated):
    x, P, H = (
        torch.zeros(3, 4),
        torch.eye(4).repeat(3, 1, 1),
        torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]),
    )
    R = torch.eye(2).repeat(3, 1, 1)
    P[1], R[1] = 1e6 * P[1], 1e-6 * R[1]  # only this filter of its warp needs help
    made = cuda_update(x, P, torch.ones(3, 2), (None, None, H, R), None, None)
    wanted = reference.kalman_update(x, P, torch.ones(3, 2), H, R)
    assert torch.linalg.eigvalsh(made.covariance.double()).min() > 0
    torch.testing.assert_close(made.covariance, wanted.covariance, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", GPU_SHAPES, ids=str)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "each"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_filters_are_right(shape, shared, dtype):
    given = problem(*shape, shared, holes=True)
    bound = 2e-5 if dtype == torch.float32 else 1e-10
    x, P, z, F, Q, H, R = (v.to("cuda", dtype) for v in given)
    mask = torch.arange(len(x)) % 3 != 1
    made = kalman_step(x, P, z, F, Q, H, R, mask=mask.cuda())
    close([v.cpu() for v in made], reference.kalman_step(*given, mask=mask), bound)
    seen = kalman_update(x, P, z, H, R, mask=mask.cuda())
    assert torch.equal(seen.covariance[~mask], P[~mask.cuda()])
    close([v.cpu() for v in kalman_predict(x, P, F, Q)], reference.kalman_predict(*given[:2], *given[3:5]), bound)


@pytest.mark.gpu
def test_covariance_stays_positive_definite_over_a_million_float32_updates():
    x, P, _, F, Q, H, R = (v.to("cuda", torch.float32) for v in problem(10_000, 6, 3, False))
    R = R * 1e-6
    for _ in range(100):
        made = kalman_step(x, P, torch.randn(10_000, 3, device="cuda"), F, Q, H, R)
        x, P = made.mean, made.covariance
    assert torch.equal(P, P.mT) and torch.linalg.eigvalsh(P.double()).min() > 0


@pytest.mark.gpu
def test_a_step_never_waits_for_the_device():
    given = [v.to("cuda", torch.float32) for v in problem(100, 10, 7, True)]
    kalman_step(*given)
    torch.cuda.set_sync_debug_mode("error")
    try:
        kalman_step(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
