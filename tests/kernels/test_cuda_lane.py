"""Calls whose like was seen before take the short way to the CUDA kernels: the same numbers, and no door left open."""

import pytest
import torch

from mambats_kernels import selective_scan
from mambats_kernels.selective_scan import cases
from mambats_kernels.selective_scan import op as public
from mambats_kernels.selective_scan.cuda import lane
from mambats_kernels.selective_scan.cuda.scan import forget
from tests.kernels.emulated import compiler, emulate

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")


@pytest.fixture
def lanes(monkeypatch):
    """The emulator as the public function's back-end; counts who comes by lane."""
    forget()
    emulate(monkeypatch, processors=1)
    monkeypatch.setattr(public, "chosen_backend", lambda *_: "cuda")
    monkeypatch.setattr(lane, "_on_gpu", lambda _: True)
    for module in (public, lane):
        monkeypatch.setattr(module, "looks_at", lambda _: False)
    taken = []
    run = public.lane_scan

    def counted(tensors, options):
        done = run(tensors, options)
        taken.append(done is not None)
        return done

    monkeypatch.setattr(public, "lane_scan", counted)
    yield taken
    forget()


def inputs():
    arguments = cases.arguments(0, torch.float32, torch.device("cpu"), shape=(2, 33, 8, 4))
    leaves = {k: v.clone().requires_grad_() for k, v in arguments.items() if torch.is_tensor(v)}
    return {**arguments, **leaves}, list(leaves.values())


def both(arguments, leaves, **how):
    y, _ = selective_scan(**arguments)
    weight = torch.linspace(-1, 1, y.numel(), requires_grad=bool(how)).view_as(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, weight, allow_unused=True, **how)]


def test_the_short_way_gives_the_same_bits(lanes):
    arguments, leaves = inputs()
    first, second = both(arguments, leaves), both(arguments, leaves)
    assert lanes == [False, True]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        assert torch.equal(selective_scan(**arguments)[0], first[0])
    assert lanes == [False, True, True]


def test_tensors_moved_by_hooks_are_read_where_they_are(lanes):
    arguments, leaves = inputs()
    wanted = both(arguments, leaves)
    with torch.autograd.graph.saved_tensors_hooks(lambda v: v.clone(), lambda v: v):
        y, _ = selective_scan(**arguments)
    with torch.no_grad():
        kept = [v.clone() for v in leaves]
        weight = torch.linspace(-1, 1, y.numel()).view_as(y)
    for v in leaves:
        v.data.zero_()  # what was packed must be read, not what lies where it was
    found = torch.autograd.grad(y, leaves, weight, allow_unused=True)
    for v, value in zip(leaves, kept, strict=True):
        v.data.copy_(value)
    assert lanes[-1]
    assert all(torch.equal(a, b) for a, b in zip(wanted[1:], found, strict=True))


def test_what_differs_goes_the_long_way(lanes):
    arguments, leaves = inputs()
    wanted = both(arguments, leaves)[0]
    room = torch.empty(arguments["x"].numel() + 1)
    crooked = room[1:].view_as(arguments["x"]).copy_(arguments["x"].detach())
    with torch.no_grad():
        torch.testing.assert_close(selective_scan(**{**arguments, "x": crooked})[0], wanted)
        assert not lanes[-1], "not aligned to 16 bytes"
        shorter = {
            k: v[:, :9] if torch.is_tensor(v) and v.dim() > 1 and v.shape[1] == 33 else v for k, v in arguments.items()
        }
        selective_scan(**shorter)
        assert not lanes[-1], "another shape"
        with pytest.raises(ValueError, match="dt has shape"):
            selective_scan(**{**arguments, "dt": arguments["dt"][:, :9]})


def test_a_second_gradient_is_refused_on_both_ways(lanes):
    arguments, leaves = inputs()
    for _ in range(2):
        slopes = both(arguments, leaves, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slopes[1].sum().backward()
    assert lanes == [False, True]
