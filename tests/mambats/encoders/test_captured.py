"""A captured step against the encoder's own."""

import pytest
import torch

from mambats.encoders import ENCODERS, CapturedStep, CausalEncoder, PatchEncoder
from mambats.encoders.captured import _leaves, _Store
from mambats.mixers import MIXERS

CAUSAL = [name for name, make in ENCODERS.items() if make(2, 8).causal]
USED = {"plain": "", "gaps": "g", "mask": "gm", "observed": "o", "everything": "gom"}


def rows(seed, device, used, batch=3, channels=2):
    """Arguments of one step."""
    random = torch.Generator().manual_seed(seed)
    x, gap = torch.randn(batch, channels, generator=random), torch.rand(batch, generator=random) * 3
    observed, mask = torch.rand(batch, channels, generator=random) > 0.3, torch.rand(batch, generator=random) > 0.3
    given = {"x_t": x}
    given |= {"gap_t": gap} if "g" in used else {}
    given |= {"observed_t": observed} if "o" in used else {}
    given |= {"mask_t": mask} if "m" in used else {}
    return {name: value.to(device) for name, value in given.items()}


def walk(step, state, device, used, seeds=range(4)):
    """All answers and the last state's tensors."""
    found = []
    with torch.no_grad():
        for seed in seeds:
            y, state = step(**rows(seed, device, used), state=state)
            found.append(y.clone())
    return [*found, *(leaf.clone() for leaf in _leaves(state))]


def same(one, other, bound=1e-6):
    for first, second in zip(one, other, strict=True):
        assert first.shape == second.shape and first.dtype == second.dtype
        torch.testing.assert_close(first, second, rtol=bound, atol=bound)


@pytest.mark.parametrize("keep", [True, False], ids=["keep", "reuse"])
def test_on_a_cpu_it_is_the_encoder_s_step(keep):
    model = ENCODERS["causal"](2, 8).eval()
    captured = CapturedStep(model, 3, keep=keep)
    ours, theirs = (walk(who.step, captured.init_state(), "cpu", "gom") for who in (captured, model))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_it_refuses_what_it_cannot_record():
    with pytest.raises(ValueError, match="causal"):
        CapturedStep(ENCODERS["bidirectional"](2, 8).eval(), 3)
    with pytest.raises(ValueError, match="eval"):
        CapturedStep(ENCODERS["causal"](2, 8), 3)
    with pytest.raises(ValueError, match="batch 0"):
        CapturedStep(ENCODERS["causal"](2, 8).eval(), 0)


def test_a_store_hands_out_states_that_stay():
    model = ENCODERS["causal"](2, 8)
    store, state = _Store(model.init_state(3)), model.step(torch.randn(3, 2), state=model.init_state(3))[1]
    store.load(state)
    kept = store.hand_out(keep=True)
    assert type(kept) is type(state) and type(kept.layers[0]) is type(state.layers[0])
    same(_leaves(kept), _leaves(state), 0)
    store.load(model.init_state(3))
    same(_leaves(kept), _leaves(state), 0)
    store.load(kept)
    same(_leaves(store.tree), _leaves(state), 0)


def test_a_store_sees_that_a_state_was_changed_in_place():
    store = _Store(ENCODERS["causal"](2, 8).init_state(3))
    state = store.hand_out(keep=True)
    state.layers[1].ssm[2] = 5.0
    store.load(state)
    assert bool((store.tree.layers[1].ssm[2] == 5.0).all())


def test_a_store_made_in_inference_mode_serves_outside():
    model = ENCODERS["causal"](2, 8)
    with torch.inference_mode():
        store, state = _Store(model.init_state(3)), model.step(torch.randn(3, 2), state=model.init_state(3))[1]
    store.load(state)
    store.load(store.hand_out(keep=True))
    same(_leaves(store.tree), _leaves(state), 0)


def test_a_store_refuses_another_batch():
    model = ENCODERS["causal"](2, 8)
    with pytest.raises(ValueError, match="init_state"):
        _Store(model.init_state(3)).load(model.init_state(4))


@pytest.mark.gpu
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "reused"])
@pytest.mark.parametrize("used", USED.values(), ids=USED)
@pytest.mark.parametrize("name", CAUSAL)
def test_replayed_equals_eager(name, used, keep):
    model = ENCODERS[name](2, 8).eval().cuda()
    captured = CapturedStep(model, 3, keep=keep)
    same(walk(captured.step, captured.init_state(), "cuda", used), walk(model.step, model.init_state(3), "cuda", used))


@pytest.mark.gpu
def test_kept_states_can_be_gone_back_to():
    model = CausalEncoder(2, 64, 3, mixer=MIXERS["mamba"]).eval().cuda()
    captured, first = CapturedStep(model, 3), rows(0, "cuda", "g")
    y, state = captured.step(**first, state=captured.init_state())
    again = walk(captured.step, state, "cuda", "g")
    same(walk(captured.step, state, "cuda", "g"), again, 0)
    with torch.no_grad():
        wanted, theirs = model.step(**first, state=model.init_state(3))
    same([y], [wanted])
    same(walk(model.step, theirs, "cuda", "g"), again)


@pytest.mark.gpu
def test_trained_and_moved_weights_are_seen():
    model = ENCODERS["causal"](2, 8).eval().cuda()
    captured = CapturedStep(model, 3)
    before = walk(captured.step, captured.init_state(), "cuda", "")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    after = walk(captured.step, captured.init_state(), "cuda", "")
    assert not torch.equal(before[0], after[0])
    same(walk(model.step, model.init_state(3), "cuda", ""), after)
    model.cpu().cuda()
    same(walk(captured.step, captured.init_state(), "cuda", ""), after)


@pytest.mark.gpu
def test_modes_of_torch_may_change_between_steps():
    model = ENCODERS["causal"](2, 8).eval().cuda()
    captured, found, state = CapturedStep(model, 3), [], None
    for mode in (torch.inference_mode, torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            y, state = captured.step(**rows(0, "cuda", "g"), state=state or captured.init_state())
            found.append(y.clone())
    same(found, walk(model.step, model.init_state(3), "cuda", "g", [0] * 4)[:4])


@pytest.mark.gpu
def test_what_does_not_fit_is_refused():
    captured = CapturedStep(ENCODERS["causal"](2, 8).eval().cuda(), 3)
    state = captured.init_state()
    captured.step(**rows(0, "cuda", ""), state=state)
    with pytest.raises(ValueError, match="batch"):
        captured.step(**rows(0, "cuda", "", batch=1), state=state)
    patches = CapturedStep(PatchEncoder(CausalEncoder(4, 8, 1), 2).eval().cuda(), 3)
    with pytest.raises(ValueError, match="keeps its shapes"):
        patches.step(**rows(0, "cuda", ""), state=patches.init_state())


@pytest.mark.gpu
def test_replays_do_not_wait_for_the_device():
    captured = CapturedStep(ENCODERS["causal"](2, 8).eval().cuda(), 3)
    given = rows(0, "cuda", "gom")
    state = captured.step(**given, state=captured.init_state())[1]
    torch.cuda.set_sync_debug_mode("error")
    try:
        captured.step(**given, state=state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
