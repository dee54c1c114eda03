"""A learned next step in the tracker: nothing learned changes nothing, and what is learned is used."""

import pytest
import torch
from torch.testing import assert_close

from mambats.encoders import CausalEncoder
from mambats.recipe import describe, rebuild
from mambats.track import ConstantVelocity, Predictor
from mambats.track.forecast import TrajectoryForecaster, channels
from mambats.track.motion_learned import LearnedPredictor
from tests.mambats.track.worlds import straight, tracker


def model(horizons=(0.1,), modes=1, gate=-1.0):
    """Untrained; a gate of -1 leaves the sensor's turn where it is."""
    torch.manual_seed(0)
    made = TrajectoryForecaster(CausalEncoder(channels(1), 8, 1), ("Car",), horizons, modes, density=0.1)
    made.head.bias.data.view(modes, -1)[:, 0] = gate
    return made


def motion():
    return ConstantVelocity([0.1, 0.1, 0.1], [0.01] * 4)


def test_untrained_it_is_constant_velocity():
    seen, _ = straight()
    plain = tracker(predictor=Predictor(motion())).run(seen)
    learned = tracker(predictor=LearnedPredictor(motion(), model())).run(seen)
    assert torch.equal(plain.tracks.identity, learned.tracks.identity)
    assert_close(learned.tracks.mean, plain.tracks.mean, atol=1e-3, rtol=1e-3)
    assert_close(learned.tracks.covariance, plain.tracks.covariance, atol=1e-3, rtol=0.02)


def test_what_it_says_is_where_the_track_is_expected():
    seen, _ = straight()
    follows = LearnedPredictor(motion(), model(modes=3))
    history = tracker(predictor=follows).run(seen)
    tracks = history.frames[-1].tracks
    follows.model.head.bias.data[5] = 3.0  # along the box, m/s, in the first mode
    expected = follows(tracks, 0.1)
    said = follows.next(tracks.identity)
    assert_close(expected.mean[:, :2], said.mean)
    assert_close(expected.covariance[:, :2, :2], said.covariance)
    assert (torch.linalg.eigvalsh(expected.covariance) > 0).all()
    plain = Predictor(motion())(tracks, 0.1)
    assert (expected.mean[:, :2] - plain.mean[:, :2]).norm(dim=-1).min() > 0.01


def test_longer_steps_go_at_constant_velocity():
    seen, _ = straight(step=300_000_000)
    plain = tracker(predictor=Predictor(motion())).run(seen)
    learned = tracker(predictor=LearnedPredictor(motion(), model())).run(seen)
    assert_close(learned.tracks.mean, plain.tracks.mean)


def test_a_second_sequence_is_as_the_first():
    seen, _ = straight()
    follows = tracker(predictor=LearnedPredictor(motion(), model(gate=0.0)))
    first, second = follows.run(seen), follows.run(seen)
    assert_close(first.tracks.mean, second.tracks.mean)


def test_it_stands_in_a_recipe_and_bad_arguments_are_told():
    made = LearnedPredictor(motion(), model())
    assert describe(rebuild(describe(made))) == describe(made)
    with pytest.raises(ValueError, match="needed one horizon"):
        LearnedPredictor(motion(), model(horizons=(0.1, 0.2)))
    with pytest.raises(ValueError, match="one of the classes"):
        LearnedPredictor(motion(), model(), label=1)
    seen, _ = straight()
    tracks = tracker().run(seen).frames[-1].tracks
    with pytest.raises(ValueError, match="one scene"):
        made(tracks._replace(scene=torch.zeros_like(tracks.identity)), 0.1)
