"""The Kalman functions: against numpy in float64, filterpy, finite differences, and every instruction set."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mambats_kernels import kalman_predict, kalman_step, kalman_update, native
from mambats_kernels.backend import use_backend
from mambats_kernels.kalman import PreparedKalman, RunningKalman, reference
from mambats_kernels.kalman.cases import problem
from mambats_kernels.kalman.native import takes

built = pytest.mark.skipif(native.library is None, reason=f"not built: {native.missing}")
LEVELS = {"baseline": 0, "avx2": 1, "avx512": 2}
SHAPES = [(1, 1, 1), (5, 4, 2), (21, 10, 7), (3, 32, 20), (9, 6, 9)]


@pytest.fixture(params=LEVELS.values(), ids=LEVELS)
def level(request):
    if native.library is None or native.library.mambats_use_instructions(request.param):
        pytest.skip("there is no library, or this processor has no such instructions")
    yield request.param
    native.library.mambats_use_instructions(-1)


def oracle(x, P, z, F, Q, H, R, gate=None, mask=True):
    """One row by the textbook, in numpy: only the numbers that were measured, the plain covariance form."""
    x, P = F @ x, F @ P @ F.T + Q
    seen = np.isfinite(z) & mask
    H, R, r = H[seen], R[np.ix_(seen, seen)], (z - H @ x)[seen]
    S = H @ P @ H.T + R
    nis = float(r @ np.linalg.solve(S, r)) if seen.any() else 0.0
    log_likelihood = -0.5 * (nis + seen.sum() * math.log(2 * math.pi) + np.linalg.slogdet(S)[1]) if seen.any() else 0.0
    if not seen.any() or (gate is not None and nis > gate[seen.sum()]):
        return x, P, nis, log_likelihood, False
    K = P @ H.T @ np.linalg.inv(S)
    return x + K @ r, P - K @ S @ K.T, nis, log_likelihood, True


def judge(made, given, gate=None, mask=None, tolerance=1e-12):
    rows = [[v.numpy() if v.dim() < 3 - (k in (0, 2)) else v[b].numpy() for k, v in enumerate(given)]
            for b in range(len(given[0]))]  # fmt: skip
    for b, row in enumerate(rows):
        row[0], row[2] = given[0][b].numpy(), given[2][b].numpy()
        wanted = oracle(*row, gate=None if gate is None else gate.numpy(), mask=True if mask is None else bool(mask[b]))
        found = (made.mean[b], made.covariance[b], made.nis[b], made.log_likelihood[b])
        for one, other in zip(found, wanted[:4], strict=True):
            np.testing.assert_allclose(one.double().numpy(), other, rtol=tolerance, atol=tolerance * 10)
        assert bool(made.used[b]) == wanted[4]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "each"])
def test_step_equals_the_textbook(shape, shared, backend):
    if backend == "native" and native.library is None:
        pytest.skip(native.missing)
    given = problem(*shape, shared, holes=True)
    batch, _, m = shape
    gate = torch.tensor([0.0] + [1.2 * k for k in range(1, m + 1)], dtype=torch.float64)
    mask = torch.arange(batch) % 4 != 1
    with use_backend(backend):
        judge(kalman_step(*given), given, tolerance=1e-10)
        judge(kalman_step(*given, mask=mask, gate=gate), given, gate, mask, tolerance=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "each"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_every_instruction_set_equals_the_reference(level, shape, shared, dtype):
    given = problem(*shape, shared, seed=1, holes=True)
    wanted = reference.kalman_step(*given)
    found = kalman_step(*(v.to(dtype) for v in given))
    for name, one, other in zip(found._fields, found, wanted, strict=True):
        size = other.double().abs().max().clamp_min(1.0)
        assert float((one.double() - other.double()).abs().max() / size) < (
            1e-12 if dtype == torch.float64 else 1e-5
        ), name
    x, P, z, F, Q, H, R = given
    moved = kalman_predict(x, P, F, Q)
    for one, other in zip(moved, reference.kalman_predict(x, P, F, Q), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    then = kalman_update(*moved, z, H, R)
    for one, other in zip(then, reference.kalman_step(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@built
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    batch=st.integers(0, 40), n=st.integers(1, 17), m=st.integers(1, 12), shared=st.booleans(), holes=st.booleans(),
    masked=st.booleans(), gated=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape_and_option_equals_the_reference(batch, n, m, shared, holes, masked, gated, seed):
    given = problem(batch, n, m, shared, seed, holes)
    random = torch.Generator().manual_seed(seed)
    mask = torch.rand(batch, generator=random) > 0.5 if masked else None
    gate = torch.arange(m + 1, dtype=torch.float64) if gated else None
    found, wanted = kalman_step(*given, mask=mask, gate=gate), reference.kalman_step(*given, mask=mask, gate=gate)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_masked_rows_keep_their_state_to_the_bit(backend, batch):
    if backend == "native" and native.library is None:
        pytest.skip(native.missing)
    x, P, z, F, Q, H, R = (v.float() for v in problem(batch, 5, 3, False))
    P[:, 0, 1] += 1e-7  # not even this is put right
    z[0] = math.nan
    mask = torch.arange(batch) % 2 == 0
    with use_backend(backend):
        made = kalman_update(x, P, z, H, R, mask=mask)
        moved = kalman_predict(x, P, F, Q, mask=mask)
        far = kalman_update(x, P, torch.full_like(z, 1e6), H, R, gate=torch.full((4,), 50.0))
    assert made.used.tolist() == [False, *mask[1:].tolist()]
    assert torch.equal(made.mean[~made.used], x[~made.used]) and torch.equal(made.covariance[~made.used], P[~made.used])
    assert torch.equal(moved[0][~mask], x[~mask]) and torch.equal(moved[1][~mask], P[~mask])
    assert not far.used.any() and torch.equal(far.mean, x) and torch.equal(far.covariance, P)
    assert not made.nis[~made.used].any() and not made.residual[~made.used].any()


def ill_conditioned(random: torch.Generator, batch: int, n: int, m: int) -> tuple[Tensor, ...]:
    """Huge and tiny variances, measurements of sums that are nearly exact, moves that turn and mix."""
    turn = torch.linalg.qr(torch.randn(batch, n, n, generator=random))[0]
    x, P = torch.zeros(batch, n), torch.diag_embed(10 ** (torch.rand(batch, n, generator=random) * 8 - 2))
    H = torch.randn(batch, m, n, generator=random)
    R = torch.diag_embed(10 ** (torch.rand(batch, m, generator=random) * 8 - 8))
    Q = torch.diag_embed(10 ** (torch.rand(batch, n, generator=random) * 10 - 10))
    return x, P, turn, Q, H, R


def soundest(P: Tensor) -> float:
    """The least eigenvalue of any covariance over its largest, and how far from symmetric, in float64."""
    assert torch.equal(P, P.mT)
    values = torch.linalg.eigvalsh(P.double())
    return float((values[:, 0] / values[:, -1]).min())


@built
@pytest.mark.parametrize("kind", ["usual", "ill conditioned"])
def test_covariance_stays_positive_definite_over_100000_float32_updates(kind):
    random = torch.Generator().manual_seed(5)
    batch, n, m, steps = 200, 6, 3, 500
    for k in range(steps):
        if k % 50 == 0:
            if kind == "usual":
                x, P, _, F, Q, H, R = (v.float() for v in problem(batch, n, m, False, seed=k))
            else:
                x, P, F, Q, H, R = ill_conditioned(random, batch, n, m)
        made = kalman_step(x, P, torch.randn(batch, m, generator=random), F, Q, H, R)
        x, P = made.mean, made.covariance
        if k % 5 == 0:
            assert soundest(P) > 0
            assert x.isfinite().all() and (made.nis >= 0).all() and made.log_likelihood.isfinite().all()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_pivots_lost_in_rounding_are_raised(backend):
    """Two nearly exact sensors of one state: float32 cannot hold the covariance, and says a little more instead."""
    if backend == "native" and native.library is None:
        pytest.skip(native.missing)
    P = torch.eye(2).expand(3, 2, 2) * 1e6
    H, R = torch.tensor([[1.0, 1.0]]), torch.tensor([[1e-6]])
    with use_backend(backend):
        made = kalman_update(torch.zeros(3, 2), P, torch.ones(3, 1), H, R)
    assert soundest(made.covariance) > 0
    torch.testing.assert_close(made.mean, torch.full((3, 2), 0.5))
    sound = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    assert reference.raise_pivots(sound) is sound


def test_gradients_equal_finite_differences():
    given = [v.requires_grad_(v.dtype == torch.float64) for v in problem(3, 3, 2, False)]
    z = given[2].detach().clone()
    z[0, 1] = math.nan

    def step(*given: Tensor) -> tuple[Tensor, ...]:
        x, P, F, Q, H, R = given
        spd = [(v + v.mT) / 2 for v in (P, Q, R)]
        return kalman_step(x, spd[0], z, F, spd[1], H, spd[2])[:6]

    assert torch.autograd.gradcheck(step, [v for k, v in enumerate(given) if k != 2])


@built
def test_the_library_is_used_only_where_no_gradient_is_asked():
    x, P, *_ = problem(2, 3, 2, True)
    assert takes(x, (P,), (3, 2))
    assert not takes(x.requires_grad_(), (P,), (3, 2))
    with torch.no_grad():
        assert takes(x, (P,), (3, 2))
    with use_backend("reference"):
        assert not takes(x.detach(), (P,), (3, 2))


@pytest.mark.parametrize("batch", [0, 1, 2, 19])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prepared_step_equals_the_step(batch, dtype):
    x, P, z, F, Q, H, R = (v.to(dtype) for v in problem(batch, 4, 2, True, holes=True))
    gate, mask = torch.tensor([0.0, 3.0, 5.0], dtype=dtype), torch.arange(batch) % 3 != 2
    step = PreparedKalman(F.mT.contiguous().mT, Q, H.mT.contiguous().mT, R, gate)  # in whatever order they lie
    for options in ({}, {"mask": mask}):
        made, wanted = step(x, P, z, **options), kalman_step(x, P, z, F, Q, H, R, gate=gate, **options)
        assert torch.equal(made[0], wanted.mean) and torch.equal(made[1], wanted.covariance)
    strided = step(x.repeat(1, 2)[:, :4], P, z)
    torch.testing.assert_close(strided[0], step(x, P, z)[0])
    with pytest.raises(ValueError, match="has shape"):
        step(x, P, z[:, :1])
    slope = step(x.requires_grad_(), P, z)[0]
    assert slope.requires_grad


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_running_filters_equal_steps(batch, backend):
    if backend == "native" and native.library is None:
        pytest.skip(native.missing)
    x, P, z, F, Q, H, R = problem(batch, 4, 2, True, holes=True)
    before = x.clone(), P.clone()
    with use_backend(backend):
        step = PreparedKalman(F, Q, H, R)
        running = RunningKalman(step, x, P)
        a, b = x, P
        for value in (z, 2 * z, z.mT.contiguous().mT):
            running(value)
            a, b = step(a, b, value)
    torch.testing.assert_close(running.mean, a, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(running.covariance, b, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before[0]) and torch.equal(P, before[1])
    with pytest.raises(ValueError, match="shape"):
        running(z[:, :1])
    with pytest.raises(ValueError, match="has shape"):
        RunningKalman(step, x, P[:, :2])


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("batch", [1, 9])
def test_a_recording_equals_its_steps(steps, batch):
    x, P, _, F, Q, H, R = problem(batch, 4, 2, True)
    z = torch.randn(steps, batch, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z[::3, 0, 1] = math.nan
    step = PreparedKalman(F, Q, H, R)
    means, covariances = step.record(x, P, z)
    assert means.shape == (steps, batch, 4) and covariances.shape == (steps, batch, 4, 4)
    for k in range(steps):
        x, P = step(x, P, z[k])
        assert torch.equal(means[k], x) and torch.equal(covariances[k], P)
    with pytest.raises(ValueError, match="needed \\(T, B, m\\)"):
        step.record(x, P, z.flatten())


@pytest.mark.slow
def test_equals_filterpy():
    filterpy = pytest.importorskip("filterpy.kalman")
    x, P, _, F, Q, H, R = problem(1, 10, 7, True, seed=3)
    other = filterpy.KalmanFilter(10, 7)
    other.x, other.P, other.F, other.Q, other.H, other.R = (
        x[0].numpy(),
        P[0].numpy(),
        *(v.numpy() for v in (F, Q, H, R)),
    )
    random = torch.Generator().manual_seed(0)
    for _ in range(1000):
        z = torch.randn(1, 7, generator=random, dtype=torch.float64)
        made = kalman_step(x, P, z, F, Q, H, R)
        x, P = made.mean, made.covariance
        other.predict()
        other.update(z[0].numpy())
        np.testing.assert_allclose(x[0].numpy(), other.x, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(P[0].numpy(), other.P, rtol=1e-10, atol=1e-10)


def test_bad_input_is_named():
    x, P, z, F, Q, H, R = problem(2, 3, 2, True)
    cases = {
        "P has shape": (x, P[:1], z, F, Q, H, R),
        "F has shape": (x, P, z, F[:2], Q, H, R),
        "Q has shape": (x, P, z, F, Q[:2], H, R),
        "H has shape": (x, P, z, F, Q, H.mT, R),
        "R has shape": (x, P, z, F, Q, H, R[:1]),
        "z has shape": (x, P, z[0], F, Q, H, R),
        "R is float32": (x, P, z, F, Q, H, R.float()),
        "needed float32 or float64": tuple(v.half() for v in (x, P, z, F, Q, H, R)),
    }
    for message, wrong in cases.items():
        with pytest.raises(ValueError, match=message):
            kalman_step(*wrong)
    with pytest.raises(ValueError, match="mask is float64"):
        kalman_step(x, P, z, F, Q, H, R, mask=torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="gate has shape"):
        kalman_step(x, P, z, F, Q, H, R, gate=torch.ones(2))
    with pytest.raises(ValueError, match="two axes"):
        PreparedKalman(F.expand(2, 3, 3), Q, H, R)
