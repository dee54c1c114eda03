"""The encoder's step in one native call: the numbers of torch operations, which do it where the library must not."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mambats.encoders import CapturedStep, CausalEncoder
from mambats.mixers import MambaSettings
from mambats.series.state import flatten_state, map_state
from mambats_kernels import native
from mambats_kernels.backend import use_backend

pytestmark = pytest.mark.skipif(native.library is None, reason=f"not built: {native.missing}")

MODELS = {
    "usual": {},
    "hold": {"mixer": MambaSettings(hold=True)},
    "no_conv": {"mixer": MambaSettings(conv_width=0)},
    "one_tap": {"mixer": MambaSettings(conv_width=1)},
    "odd": {"width": 17, "channels": 3, "mixer": MambaSettings(state_size=5, expand=1, conv_width=3, dt_rank=3)},
    "one_state": {"width": 5, "mixer": MambaSettings(state_size=1, expand=3)},
    "many_states": {"width": 6, "mixer": MambaSettings(state_size=37)},
    "bare": {"final_norm": False, "layers": 1},
}


def made(name="usual", seed=0):
    torch.manual_seed(seed)
    encoder = CausalEncoder(**{"channels": 2, "width": 16, "layers": 3, **MODELS[name]}).eval()
    for parameter in encoder.parameters():
        parameter.data.mul_(1 + 0.1 * torch.randn(parameter.shape))  # no zeros and ones that would hide a mistake
    return encoder


def rows(encoder, batch, seed, used="gom"):
    random = torch.Generator().manual_seed(seed)
    x, gap = torch.randn(batch, encoder.channels, generator=random), torch.rand(batch, generator=random) * 3
    observed, mask = (torch.rand(shape, generator=random) > 0.3 for shape in (x.shape, batch))
    x = torch.where(observed, x, torch.nan) if "o" in used else x
    given = {"gap_t": gap, "observed_t": observed, "mask_t": mask}
    return {"x_t": x, **{name: value for name, value in given.items() if name[0] in used}}


@torch.no_grad()
def walk(encoder, batch=3, used="gom", steps=6, step=None, state=None):
    """Every answer and the last state."""
    state, found = state or encoder.init_state(batch), []
    for seed in range(steps):
        y, state = (step or encoder.step)(**rows(encoder, batch, seed, used), state=state)
        found.append(y.clone())
    return [*found, *flatten_state(state).values()]


def by_torch(encoder, *given, **options):
    with use_backend("torch"):
        return walk(encoder, *given, **options)


def ran(encoder):
    plan = encoder._native._plan
    return plan is not None and len(plan._recent) > 0


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert float((one.double() - other.double()).norm()) <= 2e-6 * float(other.double().norm())


@pytest.mark.parametrize("used", ["", "g", "gm", "o", "gom"])
@pytest.mark.parametrize("name", MODELS)
def test_it_gives_the_numbers_of_torch(name, used):
    encoder = made(name)
    for batch in (1, 7):
        same(walk(encoder, batch, used), by_torch(encoder, batch, used))
        assert ran(encoder)


@pytest.mark.parametrize("level", [0, 1, 2], ids=["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_them(level):
    if native.library.mambats_use_instructions(level):
        pytest.skip("this processor has no such instructions")
    try:
        for name in ("usual", "odd", "hold"):
            same(walk(made(name), 6), by_torch(made(name), 6))
    finally:
        native.library.mambats_use_instructions(-1)


def test_many_rows_on_threads_change_no_bit():
    encoder, threads = made(), torch.get_num_threads()
    x, state = torch.randn(900, 2), encoder.init_state(900)
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            encoder._native._plan = None
            with torch.no_grad():
                found.append(encoder.step(x, state=state)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)
    with torch.no_grad():
        one = encoder.step(x[5:6], state=encoder.init_state(1))[0]
    same([found[0][5:6]], [one])


def test_the_state_before_stays_and_may_be_changed():
    encoder = made()
    with torch.no_grad():
        _, state = encoder.step(**rows(encoder, 3, 0), state=encoder.init_state(3))
        before = map_state(state, torch.clone)
        first = encoder.step(**rows(encoder, 3, 1), state=state)[0]
        encoder.step(**rows(encoder, 3, 2), state=state)
        assert all(
            torch.equal(a, b) for a, b in zip(*(flatten_state(s).values() for s in (state, before)), strict=True)
        )
        assert torch.equal(encoder.step(**rows(encoder, 3, 1), state=state)[0], first)
        state.layers[1].ssm.add_(0.5)
        changed = encoder.step(**rows(encoder, 3, 1), state=state)[0]
        assert not torch.equal(changed, first)
        with use_backend("torch"):
            same([changed], [encoder.step(**rows(encoder, 3, 1), state=state)[0]])


def swap_data(encoder):
    weight = encoder.blocks[1].mixer.in_proj.weight
    weight.data = weight.data * 1.5


def swap_parameter(encoder):
    encoder.blocks[1].mixer.D = nn.Parameter(encoder.blocks[1].mixer.D.detach() + 1)


def swap_module(encoder):
    linear = nn.Linear(32, 16, bias=False)
    linear.weight.data.normal_()
    encoder.blocks[0].mixer.out_proj = linear


def give_a_bias(encoder):
    encoder.blocks[0].mixer.out_proj.bias = nn.Parameter(torch.ones(16))


def load_assigned(encoder):
    encoder.load_state_dict({n: v * 1.1 for n, v in encoder.state_dict().items()}, assign=True)


def drop_a_block(encoder):
    encoder.blocks[0].mixer = encoder.blocks[2].mixer


CHANGES = {
    "in_place": lambda e: [p.data.mul_(1.2) for p in e.parameters()],
    "A_log": lambda e: e.blocks[2].mixer.A_log.data.add_(0.3),
    "conv": lambda e: e.blocks[2].mixer.conv_weight.data.neg_(),
    "dt_proj": lambda e: e.blocks[2].mixer.dt_proj.weight.data.neg_(),
    "embedding": lambda e: e.embedding.weight.data.neg_(),
    "shared": lambda e: e.share_memory(),
    "hooked": lambda e: e.blocks[0].mixer.in_proj.register_forward_hook(lambda m, i, o: o * 1.5),
    **{f.__name__: f for f in (swap_data, swap_parameter, swap_module, give_a_bias, load_assigned, drop_a_block)},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_and_parts_are_seen(change):
    encoder = made()
    first = walk(encoder)
    assert ran(encoder)
    CHANGES[change](encoder)
    found, wanted = walk(encoder), by_torch(encoder)
    same(found, wanted)
    if change != "shared":
        apart = [float((one.double() - other.double()).norm()) for one, other in zip(found, first, strict=True)]
        assert max(apart) > 1e-3


def test_weights_of_another_shape_are_not_read():
    encoder = made()
    walk(encoder)
    encoder.blocks[0].mixer.in_proj.weight = nn.Parameter(torch.randn(2, 16))
    with pytest.raises((RuntimeError, ValueError)):
        walk(encoder)


def test_dropout_and_gradients_are_left_to_torch():
    torch.manual_seed(0)
    encoder = CausalEncoder(2, 16, 2, dropout=0.5)
    state = encoder.init_state(3)
    with torch.no_grad():
        assert not torch.equal(*(encoder.step(torch.ones(3, 2), state=state)[0] for _ in range(2)))
        encoder.eval()
        assert torch.equal(*(encoder.step(torch.ones(3, 2), state=state)[0] for _ in range(2)))
        assert ran(encoder)
        encoder.blocks[1].train()
        assert not torch.equal(*(encoder.step(torch.ones(3, 2), state=state)[0] for _ in range(2)))
    encoder.eval()
    y, _ = encoder.step(torch.ones(3, 2), state=state)
    y.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_transforms_modes_and_the_compiler_are_left_to_torch():
    encoder, x = made(), torch.randn(3, 2)
    state = encoder.init_state(3)
    with torch.no_grad():
        wanted = encoder.step(x, state=state)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not torch.equal(encoder.step(x, state=state)[0], wanted)
        mapped = torch.vmap(lambda x: encoder.step(x[None], state=encoder.init_state(1))[0][0])(x)
        torch.testing.assert_close(mapped, wanted, rtol=1e-4, atol=1e-5)
        compiled = torch.compile(lambda x, s: encoder.step(x, state=s)[0], fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, state), wanted, rtol=1e-4, atol=1e-5)
        with torch.device("meta"):
            assert encoder.step(x, state=state)[0].device.type in ("cpu", "meta")


@pytest.mark.parametrize(
    "unusual",
    [
        lambda given: {**given, "x_t": given["x_t"].T.contiguous().T},
        lambda given: {**given, "gap_t": given["gap_t"].double()},
        lambda given: {
            **given,
            "state": map_state(given["state"], lambda v: v.T.contiguous().T if v.dim() == 2 else v),
        },
        lambda given: {
            **given,
            "state": map_state(given["state"], lambda v: v.mT.contiguous().mT if v.dim() > 2 else v),
        },
        lambda given: {
            **given,
            "state": map_state(given["state"], lambda v: v.double() if v.is_floating_point() else v),
        },
    ],
    ids=["x_strided", "gap_double", "clock", "state_strided", "state_double"],
)
def test_unusual_arguments_give_the_same(unusual):
    encoder = made()
    with torch.no_grad():
        state = encoder.step(**rows(encoder, 3, 1), state=encoder.init_state(3))[1]
        given = {**rows(encoder, 3, 0), "state": state}
        wanted = encoder.step(**given)[0]
        torch.testing.assert_close(encoder.step(**unusual(given))[0].float(), wanted, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused_as_ever():
    encoder = made()
    with torch.no_grad():
        encoder.step(torch.randn(3, 2), state=encoder.init_state(3))
        with pytest.raises(ValueError, match="batch 2"):
            encoder.step(torch.randn(2, 2), state=encoder.init_state(3))
        with pytest.raises(ValueError, match="2 channels"):
            encoder.step(torch.randn(3, 4), state=encoder.init_state(3))
        with pytest.raises(ValueError, match="mask"):
            encoder.step(torch.randn(3, 2), mask_t=torch.ones(2, dtype=torch.bool), state=encoder.init_state(3))
        assert encoder.step(torch.zeros(0, 2), state=encoder.init_state(0))[0].shape == (0, 16)


def test_copies_start_anew():
    encoder = made()
    wanted = walk(encoder)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert other._native._plan is None
        same(walk(other), wanted)
        other.embedding.bias.data.add_(1)
        assert not torch.equal(walk(other)[0], wanted[0]) and torch.equal(walk(encoder)[0], wanted[0])


def test_threads_may_share_an_encoder():
    encoder = made()
    wanted = walk(encoder, steps=40)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: walk(encoder, steps=40), range(8)))
    assert all(torch.equal(one, other) for each in found for one, other in zip(each, wanted, strict=True))


def test_buffers_that_are_used_again_hold_until_the_step_after_the_next():
    encoder = made()
    captured = CapturedStep(encoder, 3, keep=False)
    wanted = walk(encoder)
    assert all(torch.equal(a, b) for a, b in zip(walk(encoder, step=captured.step), wanted, strict=True))
    first = captured.step(**rows(encoder, 3, 0), state=captured.init_state())
    kept = first[0].clone(), map_state(first[1], torch.clone)
    second = captured.step(**rows(encoder, 3, 1), state=first[1])
    again = captured.step(**rows(encoder, 3, 1), state=first[1])  # the first still is what it was
    assert torch.equal(first[0], kept[0]) and torch.equal(first[1].layers[0].ssm, kept[1].layers[0].ssm)
    assert again[0] is second[0] and torch.equal(again[0], encoder_step(encoder, 1, kept[1]))


@torch.no_grad()
def encoder_step(encoder, seed, state):
    return encoder.step(**rows(encoder, 3, seed), state=state)[0]
