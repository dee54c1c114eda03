"""Noise of boxes, Student's t, and paths of detections."""

import math

import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.track import BoxNoise, Objects
from mambats.track.behind import CLUTTER, TRUE, UNKNOWN
from mambats.track.learned import AspectNoise, InnovationNoise
from mambats.track.learned.box import FEATURES
from mambats.track.learned.labelled import labelled
from mambats.track.learned.model import Seen
from mambats.track.learned.paths import Paths, paths_of
from mambats.track.learned.scan import follow
from mambats.track.learned.student import gaussian_nis, student_log_likelihood
from mambats.track.learned.task import calibrate
from mambats.track.objects import splits_of

CLASSES = ("Car", "Cyclist")


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    made = torch.randn(count, 7, generator=random).double()
    made[:, 0], made[:, 3:6] = 10 + 5 * made[:, 0].abs(), made[:, 3:6].abs() + 1
    return made


def model(encoder: bool, seed: int = 0) -> InnovationNoise:
    torch.manual_seed(seed)
    made = InnovationNoise(CLASSES, CausalEncoder(InnovationNoise.channels_for(CLASSES), 8, 1) if encoder else None)
    return made.double() if encoder else made


def test_box_noise_is_the_one_before_where_no_more_is_asked() -> None:
    rows = [[0.1 * k - 2, 0.2] + [0.0] * (len(FEATURES) - 2) for k in range(7)]
    plain = BoxNoise([[row[0], row[1], 0.0] for row in rows])
    where, odds = boxes(20), torch.linspace(-2, 6, 20).double()
    torch.testing.assert_close(AspectNoise(rows)(where, odds), plain(where, odds))


def test_errors_that_go_together_turn_with_the_box() -> None:
    lower = [[0.0] * 7 for _ in range(7)]
    lower[3][0] = 2.0  # length with x
    noise = AspectNoise([[-1.0] + [0.0] * 8] * 7, lower)
    one = boxes(1)
    one[0, 6] = 0.0
    ahead = noise(one, torch.zeros(1).double())[0]
    assert ahead[0, 3] / (ahead[0, 0] * ahead[3, 3]).sqrt() == pytest.approx(2 / math.sqrt(5))
    one[0, 6] = math.pi / 2
    aside = noise(one, torch.zeros(1).double())[0]
    assert aside[1, 3] == pytest.approx(float(ahead[0, 3])) and abs(float(aside[0, 3])) < 1e-9
    assert bool((torch.linalg.eigvalsh(aside) > 0).all())
    with pytest.raises(ValueError, match="seven rows of nine"):
        AspectNoise([[0.0]] * 7)


@pytest.mark.parametrize("freedom", [3.0, 6.0, 30.0])
def test_students_innovations_are_chi_square_after_the_change(freedom: float) -> None:
    random = torch.Generator().manual_seed(1)
    gamma = torch.distributions.Gamma(freedom / 2, 0.5)
    torch.manual_seed(2)
    normal = torch.randn(40_000, 7, generator=random).double()
    t = normal * ((freedom - 2) / gamma.sample((40_000, 1)).double()).sqrt()  # covariance 1
    found = gaussian_nis(t.square().sum(-1), torch.tensor(freedom).double(), 7)
    assert float(((found > 1.69) & (found < 16.01)).double().mean()) == pytest.approx(0.95, abs=0.006)
    assert float(found.mean()) == pytest.approx(7.0, abs=0.15)


def test_students_density_is_scipys_and_a_gaussians_in_the_limit() -> None:
    stats = pytest.importorskip("scipy.stats")
    x, covariance = boxes(5)[:, :3], torch.tensor([[2.0, 0.3, 0], [0.3, 1, 0], [0, 0, 0.5]]).double()
    nis = (x @ covariance.inverse() * x).sum(-1)
    own = student_log_likelihood(nis, covariance.logdet(), torch.tensor(5.0).double(), 3)
    peer = stats.multivariate_t(shape=(covariance * 3 / 5).numpy(), df=5).logpdf(x.numpy())
    torch.testing.assert_close(own, torch.from_numpy(peer))
    wide = student_log_likelihood(nis, covariance.logdet(), torch.tensor(1e7).double(), 3)
    normal = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x)
    torch.testing.assert_close(wide, normal, rtol=1e-4, atol=1e-4)


def objects(frames: list[list[tuple[float, float]]], identity: bool = False, score: float = 3.0) -> Objects:
    flat = [one for frame in frames for one in frame]
    made = torch.tensor([[x, y, 0, 4, 2, 1.5, 0] for x, y in flat]).double().reshape(-1, 7)
    count = len(flat)
    return Objects(
        torch.arange(len(frames)) * 100_000_000, splits_of([len(f) for f in frames]), made,
        torch.zeros(count, dtype=torch.int64), ("Car",), torch.full((count,), score).double(),
        torch.arange(count) % 2 if identity else None,
    )  # fmt: skip


def test_detections_find_their_labels_and_the_others_a_chain() -> None:
    truth = objects([[(10, 0), (20, 5)]] * 4, identity=True)
    seen = objects([[(10.1, 0), (20, 5.1), (40, -5 + 0.5 * f)] for f in range(4)])
    made = labelled(seen, truth, "Car")
    assert made.truth.tolist() == [TRUE, TRUE, CLUTTER] * 4
    assert made.path.reshape(4, 3).tolist() == [[0, 1, 2]] * 4
    pieces = paths_of([(0, made)], 3)
    assert sorted(pieces.lengths().tolist()) == [1, 1, 1, 3, 3, 3]
    assert pieces.take(pieces.lengths() == 1).boxes.shape == (3, 1, 7)
    with pytest.raises(ValueError, match="no detection"):
        paths_of([], 3)


def test_regions_that_nobody_labelled_say_nothing() -> None:
    seen = objects([[(10, 0)]])
    pixels = torch.tensor([[0.0, 0, 10, 10]]).double()
    region = Objects(seen.stamps, seen.splits, seen.boxes + torch.nan, torch.zeros(1).long(), ("DontCare",),
                     identity=torch.tensor([-1]), pixels=pixels)  # fmt: skip
    seen = Objects(seen.stamps, seen.splits, seen.boxes, seen.labels, seen.classes, seen.score, pixels=pixels)
    assert labelled(seen, region, "Car").truth.tolist() == [UNKNOWN]
    none = labelled(seen.take(torch.zeros(1).bool()), region, "Car")
    assert not len(none.path)


def test_before_training_the_encoder_changes_nothing_and_a_gap_is_a_gap() -> None:
    torch.manual_seed(0)
    frames = [[(10 + 0.5 * f, 0.0), (20.0, 5.0)] for f in range(8)]
    frames[3] = frames[3][:1]
    pieces = paths_of([(0, labelled(objects(frames), objects(frames[:1], identity=True), "Car"))], 8)
    plain, learned = follow(model(False), pieces), follow(model(True), pieces)
    assert int(plain.innovation.sum()) == 11
    for a, b in zip(plain, learned, strict=True):
        torch.testing.assert_close(a, b)


def test_the_level_follows_surprises_and_stays_bounded() -> None:
    made = model(False).requires_grad_(False)
    memory, settings = made.init_state(1), made.settings(torch.zeros(1).long())
    nothing = torch.zeros(1, 9).double()
    wild = Seen(nothing[:, :7], torch.eye(7)[None].double(), torch.tensor([1e9]).double(), nothing[:, 0], nothing,
                torch.tensor([5]))  # fmt: skip
    for _ in range(200):
        memory = made.step(wild, 1.0, torch.tensor([True]), settings, memory)
    assert 0.5 < float(memory.level) <= 3.0
    assert bool(made.process(0.1, settings, memory).isfinite().all())
    before = float(memory.level)
    memory = made.step(wild, 20.0, torch.tensor([False]), settings, memory)
    assert 0 <= float(memory.level) < before


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="channels"):
        InnovationNoise(CLASSES, CausalEncoder(3, 8, 1))
    with pytest.raises(ValueError, match="classes"):
        InnovationNoise([])


def test_scores_are_calibrated_by_range_where_a_class_asks_for_it() -> None:
    random = torch.Generator().manual_seed(0)
    where = torch.nn.functional.pad(60 * torch.rand(4000, 1, 2, generator=random).double() + 2, (0, 5), value=1.0)
    score, kind = torch.randn(4000, 1, generator=random).double(), torch.arange(4000) % 2
    odds = 2 * score + 0.5 * where[..., :2].norm(dim=-1) / 10 - 1
    truth = torch.where(torch.rand(4000, 1, generator=random) < odds.sigmoid(), TRUE, CLUTTER)
    paths = Paths(where, score, truth, kind)
    made = InnovationNoise(CLASSES, ranged=["Car"])
    calibrate(made, paths)
    assert abs(float(made.score[0, 2]) - 0.5) < 0.1 and float(made.score[1, 2]) == 0
    assert made.calibration(0).range == made.score[0, 2] == made.classical().score[0, 2]
    torch.testing.assert_close(made.odds(score, kind[:, None], where)[::2], made.calibration(0)(score, where)[::2])
    with pytest.raises(ValueError, match="ranged names Van"):
        InnovationNoise(CLASSES, ranged=["Van"])
