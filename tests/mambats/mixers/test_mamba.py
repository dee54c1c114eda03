"""What is special about the Mamba mixer: its initialisation, its parameters, its dtypes."""

import pytest
import torch
from torch.nn import functional as F

from mambats.mixers import Block, Mamba, MambaSettings
from mambats.mixers.hippo import decay_rates, step_bias
from mambats.recipe import describe, rebuild


def test_spectra_are_the_published_ones():
    assert decay_rates("s4d_real", 4).tolist() == [1, 2, 3, 4]
    assert decay_rates("s4d_lin", 3).tolist() == [0.5, 0.5, 0.5]
    torch.testing.assert_close(Mamba(4, MambaSettings(state_size=3))._decay()[5], -torch.tensor([1.0, 2.0, 3.0]))


def test_step_sizes_start_log_uniform_between_their_bounds():
    step = F.softplus(step_bias(4000, 1e-3, 0.1)).log10()
    assert -3.001 < step.min() and step.max() < -0.999
    # A log-uniform law on [-3, -1] has mean -2 and standard deviation 2 / sqrt(12).
    assert abs(step.mean() + 2) < 0.05 and abs(step.std() - 0.577) < 0.02
    bound = Mamba(64).dt_proj.weight.abs().max()
    assert 0.45 < bound <= 0.5  # dt_rank is 64 / 16 = 4, so +-4 ** -0.5


def test_decay_skip_and_step_sizes_are_kept_from_weight_decay():
    exempt = {name for name, p in Mamba(4).named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert exempt == {"A_log", "D", "dt_bias"}


def test_matches_the_published_equation_written_out():
    mixer = Mamba(3, MambaSettings(state_size=2, conv_width=2, dt_rank=1)).double()
    x = torch.randn(1, 5, 3).double()
    u, z = mixer.in_proj(x).chunk(2, -1)
    before = F.pad(u, (0, 0, 1, 0))[:, :-1]
    u = F.silu(before * mixer.conv_weight[:, 0] + u * mixer.conv_weight[:, 1] + mixer.conv_bias)
    dt, B, C = mixer.x_proj(u).split([1, 2, 2], -1)
    delta = F.softplus(mixer.dt_proj(dt) + mixer.dt_bias)
    h, ys = torch.zeros(1, 6, 2).double(), []
    for t in range(5):
        decay = torch.exp(delta[:, t, :, None] * -mixer.A_log.exp())
        h = decay * h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        ys.append((h * C[:, t, None]).sum(-1) + mixer.D * u[:, t])
    expected = mixer.out_proj(torch.stack(ys, 1) * F.silu(z))
    torch.testing.assert_close(mixer(x)[0], expected, rtol=0, atol=1e-13)


def test_hold_stays_bounded_after_a_long_pause():
    mixer = Mamba(4, MambaSettings(hold=True))
    y, state = mixer(torch.ones(1, 3, 4), torch.tensor([[1.0, 1e6, 1.0]]))
    assert y.abs().max() < 10 and torch.isfinite(state.ssm).all()


def test_bfloat16_keeps_a_float32_state():
    mixer = Mamba(8).bfloat16()
    y, state = mixer(torch.randn(2, 5, 8).bfloat16())
    assert y.dtype == torch.bfloat16 and state.ssm.dtype == torch.float32 == mixer.init_state(2).ssm.dtype
    mixer.step(torch.randn(2, 8).bfloat16(), state=state)


def test_autocast_carries_its_state_between_forward_and_step():
    mixer, x = Mamba(8), torch.randn(2, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, state = mixer(x[:, :3], state=mixer.init_state(2))
        y, state = mixer(x[:, 3:5], state=state)
        y, state = mixer.step(x[:, 5], state=state)
    expected = mixer(x)[0][:, 5]
    assert (y - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.slow
def test_compiles_without_a_break():
    mixer = Mamba(4, MambaSettings(state_size=2))
    x, gaps = torch.randn(2, 5, 4), torch.rand(2, 5)
    fast = torch.compile(mixer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(fast(x, gaps)[0], mixer(x, gaps)[0])


def test_the_time_invariant_form_declares_the_law_only_where_it_holds():
    assert Mamba(4, MambaSettings(time_invariant=True, hold=True, conv_width=0)).time_invariant
    assert not Mamba(4, MambaSettings(time_invariant=True, hold=False, conv_width=0)).time_invariant
    assert not Mamba(4, MambaSettings(time_invariant=True, hold=True)).time_invariant
    assert not Mamba(4, MambaSettings(hold=True, conv_width=0)).time_invariant


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (MambaSettings(state_size=0), "state_size is 0"),
        (MambaSettings(expand=0), "expand 0"),
        (MambaSettings(conv_width=-1), "conv_width -1"),
        (MambaSettings(dt_rank=0), "dt_rank is 0"),
        (MambaSettings(dt_min=0.2), "dt_min is 0.2, dt_max 0.1"),
        (MambaSettings(init="s5"), "init is 's5': choose one of s4d_real, s4d_lin"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        settings.build(4)


def test_can_be_written_down_and_rebuilt():
    mixer = Mamba(4, MambaSettings(state_size=2))
    again = rebuild(describe(mixer))
    assert describe(again) == describe(mixer)
    again.load_state_dict(mixer.state_dict())
    assert rebuild(describe(Block(mixer, dropout=0.1))).dropout == 0.1
