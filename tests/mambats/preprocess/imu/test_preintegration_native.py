"""The native library's preintegration is torch's: every instruction set, odd shapes, padding, biases, states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.preprocess.imu import Preintegration
from mambats_kernels import native
from mambats_kernels.backend import use_backend
from mambats_kernels.native.preintegrate import preintegrates

pytestmark = pytest.mark.skipif(native.library is None, reason=f"not built: {native.missing}")
LEVELS = {"baseline": 0, "avx2": 1, "avx512": 2}
NOISE = (1e-3, 2e-2, 1e-3)


@pytest.fixture(params=LEVELS.values(), ids=LEVELS)
def level(request):
    if native.library.mambats_use_instructions(request.param):
        pytest.skip("this processor has no such instructions")
    yield request.param
    native.library.mambats_use_instructions(-1)


def samples(batch, length, seed=0, speed=1.0, padded=0.2, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    gyro, force = torch.randn(2, batch, length, 3, generator=random, dtype=torch.float64)
    dt = 0.01 * torch.rand(batch, length, generator=random, dtype=torch.float64)
    dt[torch.rand(batch, length, generator=random) < padded] = 0
    bias = 0.1 * torch.randn(batch, 6, generator=random, dtype=torch.float64)
    return tuple(part.to(dtype) for part in (gyro * speed, force * 10, dt, bias))


def by_torch(method, *given, **options):
    with use_backend("torch"):
        return method(*given, **options)


def same(found, wanted, tolerance=1e-10):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        if one.numel():
            rows = other.abs().flatten(1).amax(1) if other.ndim > 1 else other.abs()
            error = (one - other).abs().flatten(1).amax(1) if other.ndim > 1 else (one - other).abs()
            assert (error <= tolerance * rows.clamp_min(1e-30)).all()


@pytest.mark.parametrize("errors", [True, False], ids=["errors", "motion"])
def test_every_instruction_set_is_torchs(level, errors):
    method = Preintegration(*NOISE, errors=errors)
    for batch, length, speed in ((1, 1, 1), (3, 16, 0), (9, 17, 1), (17, 100, 30), (33, 50, 2000)):
        given = samples(batch, length, speed=speed, padded=0.2 if length > 1 else 0)
        assert preintegrates(*given)
        same(method(*given), by_torch(method, *given))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 50), st.integers(0, 1000), st.floats(-4, 3), st.booleans(), st.booleans(),
    st.integers(0, 50),
)  # fmt: skip
def test_any_shape_bias_and_state_is_torchs(batch, length, seed, size, biased, carried, cut):
    gyro, force, dt, bias = samples(batch, length, seed, 10**size)
    method, bias = Preintegration(*NOISE), bias if biased else None
    wanted = by_torch(method, gyro, force, dt, bias)
    if not carried:
        return same(method(gyro, force, dt, bias), wanted)
    state = method(gyro[:, :cut], force[:, :cut], dt[:, :cut], bias)
    same(method(gyro[:, cut:], force[:, cut:], dt[:, cut:], state=state), wanted)


def test_float32_is_as_near_as_torchs():
    method = Preintegration(*NOISE)
    wide, narrow = samples(17, 400, speed=5), samples(17, 400, speed=5, dtype=torch.float32)
    wanted = by_torch(method, *wide)
    same([part.double() for part in method(*narrow)], wanted, 1e-5)


def test_rows_as_they_lie_in_memory():
    """Columns of one table, one interval seen many times: not contiguous."""
    gyro, force, dt, bias = samples(1, 30)
    table, method = torch.cat([gyro, force], -1).expand(5, -1, -1), Preintegration(*NOISE)
    same(method(table[..., :3], table[..., 3:], dt.expand(5, -1), bias.expand(5, -1)),
         [part.expand(5, *part.shape[1:]) for part in by_torch(method, gyro, force, dt, bias)])  # fmt: skip


def test_a_bad_row_spoils_no_other():
    given, method = samples(20, 30), Preintegration(*NOISE)
    whole = method(*given)
    given[0][3, 7], given[1][11, 2, 0], given[0][12, 5, 1] = torch.nan, torch.inf, torch.inf
    found, good = method(*given), [row for row in range(20) if row not in (3, 11, 12)]
    assert all(torch.equal(one[good], other[good]) for one, other in zip(found, whole, strict=True))
    assert not any(bool(found.position[row].isfinite().all()) for row in (3, 11, 12))


def test_threads_change_no_bit():
    given, method, threads = samples(203, 400), Preintegration(*NOISE), torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(method(*given))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_torch_is_taken_where_it_must_be():
    given = samples(3, 5)
    assert preintegrates(*given)
    with use_backend("torch"):
        assert not preintegrates(*given)
    given[3].requires_grad_()
    assert not preintegrates(*given)
    with torch.no_grad():
        assert preintegrates(*given)
    assert not preintegrates(given[0].float(), *given[1:])
    assert not preintegrates(*(part.detach().half() for part in given))
    each = torch.vmap(lambda *one: Preintegration(errors=False)(*(part[None] for part in one)).position[0])
    same([each(*(part.detach() for part in given))], [by_torch(Preintegration(*NOISE), *given).position.detach()])
