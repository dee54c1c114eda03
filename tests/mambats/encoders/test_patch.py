"""Patches keep the laws of an encoder on regular rows: any chunking, step by step, nothing from the future."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from mambats.encoders import BidirectionalEncoder, CausalEncoder, NotCausalError, PatchEncoder


def encoder(patch: int = 4) -> PatchEncoder:
    torch.manual_seed(0)
    return PatchEncoder(CausalEncoder(2 * patch, 8, 2), patch).eval()


@pytest.mark.parametrize("edges", [(0, 21), (0, 1, 3, 3, 16, 21), (0, 8, 12, 21), tuple(range(22))])
@pytest.mark.parametrize("missing", [False, True])
def test_any_chunking_gives_the_same_tokens(edges: tuple[int, ...], missing: bool) -> None:
    model, x = encoder(), torch.randn(3, 21, 2)
    observed = torch.rand_like(x) > 0.3 if missing else None
    with torch.no_grad():
        whole, last = model(x, observed=observed)
        state, parts = model.init_state(3), []
        for begin, end in pairwise(edges):
            seen = None if observed is None else observed[:, begin:end]
            y, state = model(x[:, begin:end], observed=seen, state=state)
            parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.rows, last.rows)
    torch.testing.assert_close(state.token, last.token, rtol=1e-5, atol=1e-5)


def test_step_by_step_equals_the_parallel_pass() -> None:
    model, x = encoder(), torch.randn(3, 21, 2)
    with torch.no_grad():
        whole, _ = model(x)
        state, steps = model.init_state(3), []
        for row in x.unbind(1):
            y, state = model.step(row, state=state)
            steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-5, atol=1e-5)


def test_nothing_comes_from_later_rows() -> None:
    model, x = encoder(), torch.randn(1, 16, 2)
    changed = x.clone()
    changed[:, 11] += 1
    with torch.no_grad():
        before, after = model(x)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :11], after[:, :11], rtol=0, atol=0)
    assert not torch.allclose(before[:, 11:], after[:, 11:])


def test_rows_before_the_first_patch_read_nothing() -> None:
    with torch.no_grad():
        assert encoder()(torch.randn(1, 3, 2))[0].eq(0).all()


def test_gaps_masks_and_misfits_are_refused() -> None:
    model, x = encoder(), torch.randn(1, 8, 2)
    with pytest.raises(ValueError, match="regular rows, gaps was given"):
        model(x, torch.ones(1, 8))
    with pytest.raises(ValueError, match="a mask was given"):
        model(x, mask=torch.ones(1, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="patch is 3, the encoder reads 8 channels"):
        PatchEncoder(CausalEncoder(8, 8, 1), 3)


def test_an_encoder_that_reads_ahead_has_no_state() -> None:
    model = PatchEncoder(BidirectionalEncoder(8, 8, 1), 4)
    assert model(torch.randn(1, 8, 2))[1] is None
    with pytest.raises(NotCausalError):
        model.init_state(1)
