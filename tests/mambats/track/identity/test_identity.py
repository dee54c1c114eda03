"""Embedding and affinity: what the loss asks, what calibration says, and that looks settle what places cannot."""

import pytest
import torch
from torch.testing import assert_close

from mambats.recipe import describe, rebuild
from mambats.track import Mahalanobis, Objects, SinglePass, tell
from mambats.track.association import Hungarian
from mambats.track.identity import IdentityAffinity, IdentityEmbedder, box_features, contrastive_loss
from mambats.track.objects import splits_of
from mambats_datasets.synthetic.crossing import CrossingWorlds, appearance
from tests.mambats.track.worlds import straight, tracker


def looks(bodies=6, each=12, seed=0, noise=0.3):
    """Features in which a body's sign patterns hide behind a common, larger number."""
    g = torch.Generator().manual_seed(seed)
    own = torch.randn(bodies, 4, generator=g)
    body = torch.arange(bodies).repeat(each)
    common = 4 * torch.randn(len(body), 1, generator=g)
    return torch.cat([own[body] + noise * torch.randn(len(body), 4, generator=g), common], -1), body


def trained(steps=60):
    torch.manual_seed(0)
    embedder = IdentityEmbedder(5, 32, 8)
    optimiser = torch.optim.Adam(embedder.parameters(), lr=0.01)
    for step in range(steps):
        features, body = looks(seed=step)
        loss = contrastive_loss(embedder(features), body, embedder.temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    features, body = looks(bodies=20, seed=999)
    embedder.calibrate(features, body, torch.zeros_like(body))
    return embedder.eval()


def test_the_loss_is_khoslas():
    embedding = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    body = torch.tensor([0, 0, 1, 1, -1])
    alike = embedding @ embedding.T / 0.5
    wanted = []
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        others = torch.tensor([k for k in range(5) if k != i])
        wanted.append(alike[i, others].logsumexp(0) - alike[i, j])
    assert_close(contrastive_loss(embedding, body, 0.5), torch.stack(wanted).mean())
    assert float(contrastive_loss(embedding, torch.arange(5), 0.5)) == 0


def test_it_learns_to_look_past_what_is_common_and_says_true_odds():
    embedder = trained()
    features, body = looks(bodies=20, seed=1234)
    made = embedder(features)
    assert_close(made.norm(dim=-1), torch.ones(len(made)))
    odds, same = embedder.odds(made @ made.T), body[:, None] == body
    above = torch.ones_like(same).triu(1)
    assert float((odds[same & above] > 0).float().mean()) > 0.8
    assert float((odds[~same & above] < 0).float().mean()) > 0.8
    raw = torch.nn.functional.normalize(features, dim=-1)
    learned, plain = (_ranked(one @ one.T, same, above) for one in (made, raw))
    assert learned > 0.9 and learned > plain + 0.1


def _ranked(cosine, same, above):
    """How often a pair of one body is more alike than a pair of two."""
    return float((cosine[same & above][:, None] > cosine[~same & above][None, ::7]).float().mean())


def test_looks_tell_bodies_apart_that_swap_places():
    """Two bodies stand still a metre apart, and change places between two frames."""
    frames = []
    for f in range(20):
        side = 0.5 if f < 10 else -0.5
        boxes = torch.zeros(2, 7).double()
        boxes[:, 0], boxes[:, 1], boxes[:, 3:6] = 10.0, torch.tensor([side, -side]).double(), 1.0
        frames.append(boxes)
    found = Objects(
        stamps=torch.arange(20) * 10**9, splits=splits_of([2] * 20), boxes=torch.cat(frames),
        labels=torch.zeros(40, dtype=torch.int64), classes=("Car",), score=torch.full((40,), 3.0).double(),
    )  # fmt: skip
    features, _ = looks(bodies=2, each=20)
    affinity = IdentityAffinity(Mahalanobis(60.0, 5.0), trained(), weight=5.0)
    affinity.look(features)
    follows = tracker(associator=SinglePass(affinity, Hungarian()))
    told = tell(follows.run(found), found)
    plain = tell(tracker(associator=SinglePass(Mahalanobis(60.0, 5.0), Hungarian())).run(found), found)
    for tracks, swaps in ((told, True), (plain, False)):
        left = [_left(tracks, int(tracks.splits[9])), _left(tracks, len(tracks.boxes) - 2)]
        assert (left[0] != left[1]) is swaps


def _left(tracks, row):
    """Identity of the left one of two tracks from a row on."""
    return int(tracks.identity[row + int(tracks.boxes[row : row + 2, 1].argmax())])


def test_without_weight_it_is_its_base_and_a_second_sequence_forgets_the_first():
    seen, _ = straight()
    base = Mahalanobis(40.0, 5.0)
    made = IdentityAffinity(base, IdentityEmbedder(4), weight=0.0)
    made.look(box_features(seen))
    plain = tracker(associator=SinglePass(base, Hungarian())).run(seen)
    assert torch.equal(plain.tracks.mean, tracker(associator=SinglePass(made, Hungarian())).run(seen).tracks.mean)
    heavy = IdentityAffinity(base, IdentityEmbedder(4))
    runs = []
    for _ in range(2):
        heavy.look(box_features(seen))
        runs.append(tracker(associator=SinglePass(heavy, Hungarian())).run(seen).tracks.mean)
    assert torch.equal(*runs)


def test_bad_input_is_told():
    seen, _ = straight()
    made = IdentityAffinity(Mahalanobis(40.0, 5.0), IdentityEmbedder(4))
    with pytest.raises(ValueError, match="call look"):
        tracker(associator=SinglePass(made, Hungarian())).run(seen)
    with pytest.raises(ValueError, match="0 or more"):
        IdentityAffinity(Mahalanobis(), IdentityEmbedder(4), weight=-1.0)
    with pytest.raises(ValueError, match="needed at least"):
        IdentityEmbedder(0)
    with pytest.raises(ValueError, match="pairs of one body"):
        IdentityEmbedder(4).calibrate(torch.randn(3, 4), torch.arange(3), torch.zeros(3).long())
    assert describe(rebuild(describe(made))) == describe(made)


def test_simulated_looks_are_of_bodies_and_the_same_for_a_seed():
    worlds = CrossingWorlds(duration=2.0)
    truth, found = worlds.batch(1, torch.Generator().manual_seed(0)).objects(0)
    one, two = (appearance(truth, found, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one.features, two.features) and one.features.shape == (len(found.boxes), 16)
    assert 0.5 < float((one.body >= 0).double().mean()) <= 1
    made = torch.nn.functional.normalize(one.features, dim=-1)
    same = (one.body[:, None] == one.body) & (one.body >= 0)[:, None]
    assert float((made @ made.T)[same].mean()) > float((made @ made.T)[~same].mean()) + 0.2
