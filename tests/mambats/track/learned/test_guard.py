"""What is taken of an encoder: what validation bears out, and no more tracks told than without it."""

from pathlib import Path

import pytest
import torch

from mambats.recipe import load_recipe, rebuild
from mambats.track import Existence
from mambats.track.learned import CalibratedTracker, InnovationNoise
from mambats.track.learned.guard import guard, level, likelihoods
from mambats.track.learned.labelled import Labelled
from mambats.track.learned.paths import Paths, paths_of
from mambats.track.learned.scan import follow
from tests.mambats.track.learned.test_tracker import wild
from tests.mambats.track.worlds import straight, tracker

RECIPES = Path(__file__).parents[4] / "recipes" / "track"


def paths(true: bool = True) -> Paths:
    found, _ = straight(bodies=6, frames=20)
    body = torch.arange(120) % 6
    truth = torch.where(body < 3, 1, 0) if not true else torch.ones(120).long()
    return paths_of([(0, Labelled(found, truth, body))], 10)


def test_what_an_encoder_makes_worse_is_not_taken() -> None:
    model, some = wild(), paths()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[:7] = 3.0  # box noise twenty times too wide
        model.head.bias[-1] = 2.0  # all are there, and all are
    guard(model, [some])
    assert model.trust[0, 0] == 0 and model.trust[0, -1] == 1
    kept = likelihoods(model, [some])
    model.trust.zero_()
    assert bool((kept >= likelihoods(model, [some])).all())


def test_without_enough_to_judge_by_the_classical_model_stays() -> None:
    model = wild()
    guard(model, [paths().take(torch.tensor([0, 1]))])
    assert not model.trust.any()
    plain = CalibratedTracker(tracker(20.0), model.classical(), "Car")
    found, _ = straight(bodies=3, frames=12)
    told = CalibratedTracker(tracker(20.0), model, "Car").run(found)
    torch.testing.assert_close(told.tracks.existence, plain.run(found).tracks.existence, rtol=0, atol=0)
    torch.testing.assert_close(told.tracks.covariance, plain.run(found).tracks.covariance, rtol=0, atol=0)


def test_as_many_are_told_of_as_without_the_encoder() -> None:
    model, some = wild(5), paths(true=False)
    model.score.copy_(torch.tensor([[1.0, -1.5, 0.0]]))
    with torch.no_grad():
        model.head.bias[-1] = -3.0
    plain = follow(model.classical(), some).logit[some.seen]
    wanted = float(plain.median())
    level(model, [some], [wanted])
    with torch.no_grad():
        said = follow(model, some).logit[some.seen]
    assert int((said >= wanted - 1e-9).sum()) == int((plain >= wanted).sum())
    assert float(model.shift[0]) == pytest.approx(3.0, abs=2.0)


def test_each_class_has_its_rule_of_existence() -> None:
    some = paths()
    easy = InnovationNoise(["Car"], existence=[Existence(seen=0.5, prior=-1.5)])
    none = InnovationNoise(["Car"], existence=[Existence(seen=0.5)])
    raised = follow(easy, some).logit - follow(none, some).logit
    assert float(raised[:, 1].min()) == pytest.approx(1.5, abs=0.05)
    with pytest.raises(ValueError, match="one a class"):
        InnovationNoise(["Car", "Van"], existence=[Existence()])


def test_the_recipe_learns_beside_the_trackers_own_rules() -> None:
    task = rebuild(load_recipe(RECIPES / "learned_noise.yaml")["model"])
    for k, name in enumerate(task.model.classes):
        own = rebuild(load_recipe(RECIPES / f"kitti_{name.lower()}.yaml")["tracker"])
        assert vars(task.model.existence[k]) == vars(own.updater.existence), name
        assert task.confirmed[k] == own.confirmer.least, name
