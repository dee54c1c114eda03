"""Frame by frame the forecaster says what it says of a whole batch."""

import pytest
import torch
from torch.testing import assert_close

from mambats.track.forecast import batch_of
from mambats.track.forecast.stepping import Moment
from tests.mambats.track.forecast.scenes import HORIZONS, forecaster, scene


def a_batch():
    """Two scenes, in which tracks begin late, end early and are lost for a while."""
    scenes = [scene(f"{seed}", frames=24, seed=seed, turn=0.15) for seed in (0, 1)]
    batch = batch_of(scenes, [one.future(HORIZONS) for one in scenes])
    seen = batch.seen.clone()
    seen[1, :7] = seen[2, 15:] = seen[4, 9:12] = False
    elapsed = batch.elapsed.clone()
    elapsed[:, 10] = 0.35
    return batch._replace(seen=seen, elapsed=elapsed)


def wild(modes=2):
    model = forecaster(modes)
    torch.nn.init.normal_(model.head.weight, std=0.2)
    return model.eval()


@torch.no_grad()
def test_steps_say_what_forward_says():
    batch, model = a_batch(), wild()
    whole, state = model(batch), model.init_state(len(batch.labels))
    for f in range(batch.seen.shape[1]):
        said, state = model.step(Moment.of(batch, f), state)
        for made, wanted in zip(said, whole, strict=True):
            assert_close(made[batch.seen[:, f]], wanted[:, f][batch.seen[:, f]], atol=1e-4, rtol=1e-4)
    assert state.window.seen.shape[1] == 5, "what is remembered does not grow"


def leaves(tree):
    return [tree] if isinstance(tree, torch.Tensor) else [leaf for part in tree for leaf in leaves(part)]


@torch.no_grad()
def test_a_place_that_is_renewed_forgets_who_had_it():
    batch, model = a_batch(), wild()
    before = model.init_state(len(batch.labels))
    for f in range(12):
        _, before = model.step(Moment.of(batch, f), before)
    which = torch.arange(len(batch.labels)) == 3
    after = model.renewed(before, which)
    assert not after.window.seen[3].any() and torch.equal(after.window.seen[~which], before.window.seen[~which])
    fresh = leaves(model.init_state(len(which)).encoder)
    for new, old, first in zip(leaves(after.encoder), leaves(before.encoder), fresh, strict=True):
        assert torch.equal(new[~which], old[~which]) and torch.equal(new[which], first[which])
    said, _ = model.step(Moment.of(batch, 12), after)
    assert said.mean[3].isfinite().all()


def test_other_tracks_than_remembered_are_refused():
    batch, model = a_batch(), wild()
    _, state = model.step(Moment.of(batch, 0), model.init_state(len(batch.labels)))
    fewer = Moment(*(part[:3] for part in Moment.of(batch, 1)))
    with pytest.raises(ValueError, match="keep slots"):
        model.step(fewer, state)
