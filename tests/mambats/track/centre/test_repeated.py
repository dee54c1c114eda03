"""Errors that repeat from sweep to sweep: the law drawn is the law fitted, and tracks that know it are consistent."""

import math
from dataclasses import replace

import pytest
import torch

from mambats.track import (
    ByExistence,
    ConstantAcceleration,
    ConstantTurn,
    ConstantVelocity,
    Deleter,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Predictor,
    SinglePass,
    Tracker,
    Updater,
    tell,
)
from mambats.track.association import Matches
from mambats.track.centre import ToldNoise
from mambats.track.centre.repeated import (
    SIZE,
    Fading,
    RepeatedErrors,
    RepeatedInitiator,
    RepeatedUpdater,
    RepeatedVelocity,
)
from mambats.track.centre.repeated_fit import fit_repeats
from mambats.track.detector import Detections
from mambats.track.ego import sensor_turn
from mambats.track.heading import turned_to
from mambats.track.objects import Objects, splits_of

SIGMA = torch.tensor([0.3, 0.3, 0.1, 0.4, 0.2, 0.1, 0.1]).double()
SHARE, TIME = [0.7, 0.7, 0.8, 0.95, 0.9, 0.9, 0.3], [1.0, 1.0, 2.0, 20.0, 20.0, 10.0, 1.0]
STEP, FRAMES, BODIES = 0.1, 60, 6


def drawn(seed: int, speed: float = 0.0) -> tuple[Objects, torch.Tensor, torch.Tensor]:
    """Bodies that stand or drive, seen with errors that repeat; the true boxes and the errors in deviations."""
    random = torch.Generator().manual_seed(seed)
    fade = torch.exp(-STEP / torch.tensor(TIME)).double()
    share = torch.tensor(SHARE).double()
    bias, made = torch.randn(BODIES, 7, generator=random).double(), []
    for _ in range(FRAMES):
        made.append(share.sqrt() * bias + (1 - share).sqrt() * torch.randn(BODIES, 7, generator=random).double())
        bias = fade * bias + (1 - fade**2).sqrt() * torch.randn(BODIES, 7, generator=random).double()
    errors = torch.stack(made)
    truth = torch.zeros(FRAMES, BODIES, 7).double()
    truth[..., 1], truth[..., 3:6] = 15.0 * torch.arange(BODIES), torch.tensor([4.0, 2.0, 1.5]).double()
    truth[..., 0] = 20.0 + speed * STEP * torch.arange(FRAMES)[:, None]
    boxes = (truth + SIGMA * errors).reshape(-1, 7)
    count = len(boxes)
    velocity = torch.tensor([speed, 0.0, 0.0]).double().expand(count, 3)
    found = Objects(
        torch.arange(FRAMES) * round(STEP * 1e9), splits_of([BODIES] * FRAMES), boxes,
        torch.zeros(count, dtype=torch.int64), ("car",), score=torch.full((count,), 3.0).double(),
        velocity=velocity, covariance=SIGMA.square().diag().expand(count, 7, 7),
    )  # fmt: skip
    return found, truth, errors


def tracker(white: bool = False, told: float | None = None) -> Tracker:
    errors = RepeatedErrors([1.0] * 7, SHARE)
    move = [0.05, 0.05, 0.01], [1e-3] * 4
    return Tracker(
        ToldNoise(),
        Predictor(ConstantVelocity(*move) if white else RepeatedVelocity(*move, TIME)),
        SinglePass(Mahalanobis(60.0, 5.0), Hungarian()),
        Updater(Existence()) if white else RepeatedUpdater(errors, Existence(), told=told),
        Initiator([1.0] * 3) if white else RepeatedInitiator(errors, [1.0] * 3, told),
        Deleter(silence=1.0),
        ByExistence(0.0),
    )


def consistency(white: bool) -> tuple[float, float]:
    """Mean NIS/7, and mean e' P^-1 e / 7 of the tracks told in the last second."""
    nis, nees = [], []
    for seed in range(3):
        found, truth, _ = drawn(seed)
        history = tracker(white).run(found)
        nis.append(history.consistency().nis)
        told = tell(history, found)
        late = told.take(told.frames >= FRAMES - 10)
        away = torch.cdist(late.boxes[:, :2], truth[0, :, :2])
        assert float(away.min(1).values.max()) < 2.0
        error = late.boxes - truth[0, away.argmin(1)]
        nees.append((error * torch.linalg.solve(late.covariance, error[..., None])[..., 0]).sum(-1))
    return float(torch.cat(nis).mean() / 7), float(torch.cat(nees).mean() / 7)


def test_tracks_that_know_of_the_repetition_are_consistent_and_white_ones_are_not():
    nis, nees = consistency(white=False)
    assert nis == pytest.approx(1.0, abs=0.12) and nees == pytest.approx(1.0, abs=0.35)
    nis, nees = consistency(white=True)
    assert nis < 0.7 and nees > 4.0


def test_the_law_that_was_drawn_is_fitted():
    parts = [drawn(seed)[2] for seed in range(100, 130)]
    errors = torch.cat([torch.nn.functional.pad(part, (0, 2)) for part in parts])
    drive = torch.arange(len(parts)).repeat_interleave(FRAMES)
    made = fit_repeats(2.0 * errors, drive, STEP)
    torch.testing.assert_close(made.scale, torch.full((7,), 2.0).double(), rtol=0.15, atol=0)
    torch.testing.assert_close(made.share, torch.tensor(SHARE).double(), rtol=0, atol=0.1)
    assert made.time[0] == made.time[1] == pytest.approx(1.0, rel=0.3) and made.time[3] > 8.0
    assert made.errors(2.0).scale == pytest.approx((2 * made.scale).tolist()) and made.velocity == 0.0
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_repeats(torch.full_like(errors, torch.nan), drive, STEP)


def test_what_repeats_and_what_does_not_make_the_whole_however_a_body_is_turned():
    errors = RepeatedErrors([1.5, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0], SHARE)
    cos, sin = math.cos(0.7), math.sin(0.7)
    turn = torch.eye(7).double()
    turn[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
    noise = (turn @ torch.diag(torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]).double()) @ turn.T)[None]
    whole = errors.whole(noise)
    part = errors.repeated(whole)
    repeated = part @ part.mT
    torch.testing.assert_close(repeated[0, :2, :2], 0.7 * 1.5**2 * noise[0, :2, :2])
    assert float(torch.linalg.eigvalsh(whole - repeated).min()) > 0
    torch.testing.assert_close(turn.T @ repeated[0] @ turn, torch.diag(torch.diagonal(turn.T @ repeated[0] @ turn)))


def test_a_new_track_is_off_by_its_first_error():
    noise = SIGMA.square().diag()[None]
    seen = Detections(
        torch.ones(1, 7).double(), noise, torch.ones(1).double(), torch.zeros(1).long(),
        velocity=torch.tensor([[5.0, 1.0]]).double(),
    )  # fmt: skip
    errors = RepeatedErrors([1.0] * 7, SHARE)
    nobody = Matches(torch.zeros(0).long(), torch.zeros(0).long())
    rest, moving = (RepeatedInitiator(errors, [3.0, 3.0, 0.1], told)(seen, nobody, 0) for told in (None, 0.5))
    assert rest.mean[0, 7:9].tolist() == [0.0, 0.0] and moving.mean[0, 7:9].tolist() == [5.0, 1.0]
    assert float(rest.covariance[0, 7, 7]) == 9.0 and float(moving.covariance[0, 7, 7]) == 0.25
    assert float(torch.linalg.eigvalsh(rest.covariance).min()) > 0
    # A second look with the same error, at once, tells nothing new of the box but its white part.
    matrix, white = RepeatedUpdater(errors, Existence()).measured(rest, noise)
    innovation = matrix @ rest.covariance @ matrix.mT + white
    torch.testing.assert_close(innovation[0], 2 * white[0], rtol=1e-9, atol=1e-12)


def test_velocities_that_are_told_are_taken_where_they_are_asked_for():
    found, _, _ = drawn(0, speed=6.0)
    early = {}
    for told in (None, 0.5):
        made = tell(tracker(told=told).run(found), found).between(1, 4)
        early[told] = (made.velocity[:, 0] - 6.0).abs().mean()
    assert early[0.5] < 0.5 < early[None]
    still = tracker(told=0.5).run(replace(found, velocity=None))
    assert len(still.tracks.identity) > 0


def test_fading_keeps_a_variance_of_one():
    noise, elapsed = Fading([0.5, 3.0]), torch.tensor([0.1, 100.0]).double()
    stays = torch.exp(-2 * elapsed[:, None] / torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(torch.diagonal(noise(elapsed), dim1=1, dim2=2) + stays, torch.ones(2, 2).double())
    motion = RepeatedVelocity([1.0] * 3, [0.1] * 4, TIME)
    assert motion.size == SIZE + 7


def test_a_sensor_that_stands_askew_sees_the_states_that_it_would_track_itself():
    found, _, _ = drawn(1, speed=6.0)
    wide = torch.diag(torch.tensor([0.6, 0.1, 0.1, 0.5, 0.2, 0.1, 0.1]).double().square())
    wide[0, 1] = wide[1, 0] = 0.03  # along the sight: the root is none of the diagonal
    found = replace(found, covariance=wide.expand(len(found.boxes), 7, 7))
    pose = torch.tensor([30.0, -20.0, 1.0, 2.1]).double()
    own, world = tracker().run(found), tracker().run(found, pose.expand(len(found), -1))
    turn = sensor_turn(pose, SIZE + 7)
    seen = (world.tracks.mean - turn.offset) @ turn.matrix.mT
    seen[:, 6] = turned_to(seen[:, 6], own.tracks.mean[:, 6])  # the yaw of a state is not wrapped
    assert torch.equal(world.tracks.identity, own.tracks.identity) and float(own.tracks.mean[:, SIZE:].abs().max()) > 1
    torch.testing.assert_close(seen, own.tracks.mean, rtol=0, atol=1e-9)
    covariance = turn.matrix @ world.tracks.covariance @ turn.matrix.mT
    torch.testing.assert_close(covariance, own.tracks.covariance, rtol=0, atol=1e-9)


@pytest.mark.parametrize("motion", [ConstantVelocity([0.5] * 3, [0.1] * 4), ConstantTurn([0.5] * 3, 0.2, [0.1] * 3),
                                    ConstantAcceleration([0.5] * 3, [0.1] * 4)])  # fmt: skip
def test_motion_goes_on_alike_in_the_axes_of_any_sensor(motion):
    state = torch.randn(3, motion.size, generator=torch.Generator().manual_seed(0)).double()
    turn, elapsed = sensor_turn(torch.tensor([3.0, 4.0, 1.0, 0.8]).double(), motion.size), torch.full((3,), 0.7)
    motion = motion.double()

    def seen(x: torch.Tensor) -> torch.Tensor:
        return (x - turn.offset) @ turn.matrix.mT

    torch.testing.assert_close(seen(motion(state, elapsed)), motion(seen(state), elapsed))
    still = sensor_turn(None, motion.size)
    assert torch.equal(still.matrix, torch.eye(motion.size).double()) and not bool(still.offset.any())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RepeatedErrors([1.0] * 6, SHARE), "seven each"),
        (lambda: RepeatedErrors([1.0] * 7, [1.0, *SHARE[1:]]), "need the same"),
        (lambda: RepeatedVelocity([1.0] * 3, [0.1] * 4, [1.0]), "needed 3, 4 and 7"),
        (lambda: Fading([0.0]), "above 0"),
        (lambda: RepeatedInitiator(RepeatedErrors([1.0] * 7, SHARE), [1.0] * 3, 0.0), "told is"),
        (lambda: RepeatedUpdater(RepeatedErrors([1.0] * 7, SHARE), Existence(), told=-1.0), "told is"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
