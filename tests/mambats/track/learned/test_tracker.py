"""A tracker whose noise a model sets: the same steps as the scan it was trained by, from a checkpoint too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mambats.checkpoint import write_checkpoint
from mambats.encoders import CausalEncoder
from mambats.series import Recording
from mambats.track import BaseRate, Existence, ScoreCalibration, tell
from mambats.track.kitti import to_kitti
from mambats.track.learned import CalibratedTracker, InnovationNoise, NoiseTask, PathData
from mambats.track.learned.labelled import Labelled
from mambats.track.learned.paths import paths_of
from mambats.track.learned.scan import follow
from mambats.track.learned.student import gaussian_nis
from mambats.track.learned.tracker import calibrated
from tests.mambats.track.worlds import straight, tracker

CLASSES = ("Car",)


def wild(seed: int = 0, rules: Sequence[Existence] | None = None) -> InnovationNoise:
    """A model whose head says something."""
    torch.manual_seed(seed)
    made = InnovationNoise(CLASSES, CausalEncoder(InnovationNoise.channels_for(CLASSES), 8, 1), rules)
    torch.nn.init.normal_(made.head.weight, std=0.3)
    made.score.copy_(torch.tensor([[1.0, 0.0, 0.2]]))
    return made


def test_the_tracker_says_what_the_scan_said() -> None:
    found, _ = straight(bodies=3, frames=12)
    model, body = wild(), torch.arange(36) % 3
    scanned = follow(model, paths_of([(0, Labelled(found, torch.ones(36).long(), body))], 12))
    told = CalibratedTracker(tracker(20.0), model, "Car").run(found).consistency()
    order = torch.argsort(body[told.row] * 100 + told.row)
    expected = gaussian_nis(scanned.nis, scanned.freedom, 7)[scanned.innovation]
    torch.testing.assert_close(told.nis[order], expected, rtol=1e-4, atol=1e-4)


def test_existence_is_the_scans_too() -> None:
    found, _ = straight(bodies=1, frames=6)
    model = wild(3, [tracker().updater.existence])
    scanned = follow(model, paths_of([(0, Labelled(found, torch.ones(6).long(), torch.zeros(6).long()))], 6))
    history = CalibratedTracker(tracker(20.0), model, "Car").run(found)
    torch.testing.assert_close(history.tracks.existence, scanned.logit[0].detach(), rtol=1e-4, atol=1e-4)


def test_tracks_come_and_go_with_their_memories() -> None:
    found, _ = straight(bodies=3, frames=30)
    keep = (found.frames + torch.arange(90) % 3) % 7 > 1
    history = CalibratedTracker(tracker(20.0), wild(), "Car").run(found.take(keep))
    assert bool(history.tracks.covariance.isfinite().all())
    assert bool((torch.linalg.eigvalsh(history.tracks.covariance) > 0).all())
    assert bool(tell(history, found.take(keep), "fixed-lag").boxes.isfinite().all())
    nothing = CalibratedTracker(tracker(20.0), wild(), "Car").run(found.take(torch.zeros(90).bool()))
    assert not len(nothing.tracks.identity)


def test_log_odds_rise_with_the_rate_of_the_sequence_as_in_a_plain_tracker() -> None:
    detections, _ = straight(bodies=6, frames=10)
    rate = BaseRate(trained=0.2, weight=5.0)
    plain = tracker(base_rate=rate)
    plain.detector.calibration = ScoreCalibration(0.7, 0.0)
    made = CalibratedTracker(plain, model_of(ScoreCalibration(0.7, 0.0)), "Car")
    own, other = made.run(detections), plain.run(detections)
    torch.testing.assert_close(own.tracks.odds, other.tracks.odds)
    torch.testing.assert_close(own.tracks.existence[::10], other.tracks.existence[::10])  # of a track's first frame
    assert bool((own.tracks.existence[::10] > 0.7 * 3.0 - 1 + 0.5).all())


def model_of(calibration: ScoreCalibration) -> InnovationNoise:
    """The classical model before it is fitted, of a given calibration."""
    made = InnovationNoise(CLASSES)
    made.score.copy_(torch.tensor([[calibration.slope, calibration.offset, 0.0]]))
    return made


def test_hindsight_goes_back_over_the_noise_that_was_said() -> None:
    found, _ = straight(bodies=2, frames=10)
    history = CalibratedTracker(tracker(), wild(2), "Car").run(found)
    rows, tracks = torch.arange(9), history.tracks  # of the first track; row k went on to row k + 1
    matrix, noise = history.step(rows, tracks.mean[rows], 0.1)
    moved = matrix @ tracks.covariance[rows] @ matrix.mT + noise
    told = history.consistency()
    mine = torch.tensor([told.row.tolist().index(int(row)) for row in tracks.detection[1:10]])
    before = moved[:, :7, :7]
    after = before - before @ torch.linalg.solve(told.covariance[mine], before)
    torch.testing.assert_close(after, tracks.covariance[1:10, :7, :7], rtol=1e-9, atol=1e-12)


def test_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match="learned for Car"):
        CalibratedTracker(tracker(), wild(), "Tram")


class Worlds:
    """Recordings in KITTI's columns."""

    name = "worlds"

    def recordings(self) -> list[Recording]:
        made = list[Recording]()
        for seed in range(3):
            found, _ = straight(bodies=4, frames=25, seed=seed)
            labels = to_kitti(replace(found, identity=torch.arange(len(found.boxes)) % 4))
            made.append(Recording(f"w{seed}", {}, ragged={"detections": to_kitti(found), "labels": labels}))
        return made


def test_fit_test_and_track_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lightning: Any = pytest.importorskip("lightning")
    data = PathData(Worlds(), CLASSES, val=["w1"], test=["w2"], length=10, cells=400)
    encoder = CausalEncoder(InnovationNoise.channels_for(CLASSES), 8, 1)
    task = NoiseTask(InnovationNoise(CLASSES, encoder), tune=3)
    report = task.report("learned", tmp_path)
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, callbacks=[report])  # fmt: skip
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data)
    assert (tmp_path / "results.json").is_file() and "classical" in capsys.readouterr().out
    checkpoint = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    write_checkpoint(checkpoint, tmp_path / "best.ckpt")
    found, _ = straight(bodies=3, frames=12)
    own = CalibratedTracker(tracker(20.0), task.model, "Car").run(found)
    again = calibrated(tracker(20.0), tmp_path / "best.ckpt", "Car").run(found)
    torch.testing.assert_close(own.tracks.mean, again.tracks.mean, rtol=0, atol=0)


@pytest.mark.slow
def test_the_likelihood_fit_finds_the_noise() -> None:
    from mambats.track.learned.task import tune

    data = PathData(Worlds(), CLASSES, val=["w1"], test=["w2"], length=25, cells=400)
    data.setup()
    model = InnovationNoise(CLASSES)
    with torch.no_grad():
        before = follow(model, data.paths["test"])
    tune(model, data.paths["train"], 400, 30, 0.05)
    with torch.no_grad():
        after = follow(model, data.paths["test"])
    gained = after.log_likelihood[after.innovation].mean() - before.log_likelihood[before.innovation].mean()
    assert float(gained) > 0.45  # measured 0.483 nats, with these seeds
    assert 0.75 < float(after.nis[after.innovation].mean()) / 7 < 1.3


def test_a_checkpoint_that_is_none_is_named(tmp_path: Path) -> None:
    from mambats.recipe import RecipeError
    from mambats.track.recipe import read_recipe

    recipe = Path(__file__).parents[4] / "recipes" / "track" / "kitti_car.yaml"
    with pytest.raises(RecipeError, match=r"none\.ckpt: there is no such checkpoint"):
        read_recipe(recipe, tmp_path / "none.ckpt")


def test_many_scenes_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="one scene"):
        made = CalibratedTracker(tracker(), wild(), "Car")
        found, _ = straight()
        made.advance(made.init_state().tracks, None, made.detector(found)[0], 0)
