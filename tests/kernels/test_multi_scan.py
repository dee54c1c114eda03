"""One scan over streams equals a scan of each stream, and a batch of packed sequences each sequence alone."""

import pytest
import torch

from mambats_kernels import multi_scan
from mambats_kernels.case import TOLERANCE
from mambats_kernels.multi_scan import reference
from mambats_kernels.multi_scan.cases import CASES, arguments


def kept(given):
    """Places that belong to a sequence."""
    return torch.cat([torch.arange(n) < int(b[-1]) for n, b in zip(given["tokens"], given["cu_seqlens"], strict=True)])


def outcome(operation, given, dtype=None):
    """Outputs, final states and gradients of a weighted sum."""
    leaves = {n: v.detach().to(dtype or v.dtype).requires_grad_() for n, v in given.items() if torch.is_tensor(v)}
    starts = [v.detach().to(dtype or v.dtype).requires_grad_() for v in given.get("initial_state", ())]
    y, final = operation(**{**given, **leaves, **({"initial_state": starts} if starts else {})})
    parts = [y[:, kept(given)], *final]
    loss = sum((part.double() * torch.arange(part.numel()).cos().view(part.shape)).sum() for part in parts)
    slopes = torch.autograd.grad(loss, [*leaves.values(), *starts])
    return [part.detach() for part in (*parts, *slopes)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_equals_a_scan_a_stream(case, dtype):
    given = CASES[case](0, dtype)
    judged = outcome(reference.multi_scan, given, torch.float64)
    for mine, wanted in zip(outcome(multi_scan, given), judged, strict=True):
        assert mine.shape == wanted.shape
        assert (mine.double() - wanted).norm() <= TOLERANCE[dtype] * wanted.norm()


def test_one_bias_and_no_state():
    given = arguments(0, torch.float64)
    given["dt_bias"] = given["dt_bias"][0]
    given["initial_state"] = [torch.zeros_like(state) for state in given["initial_state"]]
    y, final = multi_scan(**given)
    again, same = multi_scan(**{**given, "initial_state": None})
    assert torch.equal(y, again) and all(torch.equal(a, b) for a, b in zip(final, same, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": [1, 2]}, "one of each"),
        ({"tokens": [1, 2, 3, 4]}, "add up to"),
        ({"initial_state": []}, "one a stream"),
        ({"dt_bias": torch.zeros(3, 4, dtype=torch.float64)}, "one row a stream"),
        ({"x": torch.zeros(4)}, "reshape"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        multi_scan(**{**arguments(0, torch.float64), **change})


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu(case):
    given = CASES[case](0, torch.float32)
    there = {n: v.cuda() if torch.is_tensor(v) else v for n, v in given.items()}
    there |= {n: [part.cuda() for part in given[n]] for n in ("initial_state", "cu_seqlens") if n in given}
    y, final = multi_scan(**there)
    wanted, states = reference.multi_scan(**CASES[case](0, torch.float64))
    for mine, expected in ((y.cpu()[:, kept(given)], wanted[:, kept(given)]), *zip(final, states, strict=True)):
        assert (mine.cpu().double() - expected).norm() <= 1e-5 * expected.norm()
