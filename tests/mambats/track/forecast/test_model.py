"""The forecaster: what it is untrained, what it may know, what it keeps, and that it learns."""

import json

import pytest
import torch
from torch.testing import assert_close

from mambats.cli import main
from mambats.encoders import CausalEncoder
from mambats.formats.error import DataError
from mambats.recipe import describe, rebuild
from mambats.track.forecast import ForecastModule, TrajectoryForecaster, batch_of, forecast_loss
from mambats.track.forecast.baselines import TURNING, baselines
from tests.mambats.track.forecast.scenes import CLASSES, HORIZONS, Made, forecaster, scene


def a_batch(*seeds, **more):
    scenes = [scene(f"{seed}", seed=seed, **more) for seed in seeds or (0,)]
    return batch_of(scenes, [one.future(HORIZONS) for one in scenes])


@pytest.mark.parametrize("modes", [1, 3])
def test_untrained_it_takes_the_sensors_turn_out_of_constant_velocity(modes):
    batch, model = a_batch(turn=0.2), forecaster(modes)
    model.calibrate(batch)
    said, wanted = model(batch), baselines(model, batch)[TURNING]
    assert_close(said.best, wanted.best, atol=1e-4, rtol=1e-4)
    if modes == 1:
        assert_close(said.covariance, wanted.covariance, atol=1e-4, rtol=1e-3)


def test_calibration_makes_constant_velocity_right_in_the_median():
    batch, model = a_batch(turn=0.1), forecaster()
    model.calibrate(batch)
    said = model.plain(batch)
    away = batch.truth - said.mean[..., 0, :, :]
    square = (away[..., None, :] @ torch.linalg.solve(said.covariance[..., 0, :, :, :], away[..., None]))[..., 0, 0]
    for label in range(2):
        rows = batch.asked[..., 1] & (batch.labels == label)[:, None]
        assert 0.45 < float((square[..., 1][rows] < 1.386).double().mean()) < 0.55


def test_a_class_of_few_bodies_is_hardly_changed_by_what_was_learned():
    batch, model = a_batch(turn=0.2), forecaster()
    model.calibrate(batch)
    assert_close(model.trust, torch.full((2,), 3 / 103))
    plain = model(batch).best
    torch.nn.init.normal_(model.head.weight, std=0.3)
    little = (model(batch).best - plain).norm(dim=-1).mean()
    model.trust.fill_(1.0)
    assert float((model(batch).best - plain).norm(dim=-1).mean()) > 5 * float(little) > 0


def test_nothing_later_is_known_and_scenes_do_not_mix():
    batch, model = a_batch(0, 1), forecaster()
    torch.nn.init.normal_(model.head.weight, std=0.3)
    said = model(batch)
    early = batch._replace(mean=batch.mean.clone())
    early.mean[:, 25:] += 1.0
    assert_close(model(early).mean[:, :25], said.mean[:, :25])
    alone = model(a_batch(0))
    assert_close(said.mean[:6], alone.mean, atol=1e-4, rtol=1e-4)


def test_a_scene_turned_about_the_sensor_is_forecast_turned():
    batch, model = a_batch(turn=0.1), forecaster(2)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    angle = torch.tensor(0.7)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    mean = batch.mean.clone()
    for part in (slice(0, 2), slice(7, 9)):
        mean[..., part] = batch.mean[..., part] @ turn.T
    mean[..., 6] += angle
    own = torch.cat([batch.own[..., :2] @ turn.T, batch.own[..., 2:]], -1)
    said, turned = model(batch), model(batch._replace(mean=mean, own=own))
    assert_close(turned.mean, said.mean @ turn.T, atol=0.01, rtol=0.001)


def test_a_mirrored_batch_is_its_own_mirror_twice():
    batch = a_batch(0, 1, turn=0.1)
    both = torch.tensor([True, False])
    once = batch.mirrored(both)
    assert_close(once.mirrored(both).mean, batch.mean)
    assert_close(once.mean[6:], batch.mean[6:])
    assert_close(once.own[:6], batch.own[:6] * torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert_close(once.truth[:6, ..., 1], -batch.truth[:6, ..., 1], equal_nan=True)


def test_covariances_are_covariances_however_wild_the_head():
    batch, model = a_batch(), forecaster(2)
    torch.nn.init.normal_(model.head.weight, std=20.0)
    said = model(batch)
    assert said.mean.isfinite().all()
    assert (torch.linalg.cholesky_ex(said.covariance.double())[1] == 0).all()


def test_it_learns_and_stands_in_a_recipe():
    batch, model = a_batch(0, 1, 2), forecaster()
    twin = rebuild(describe(model))
    assert describe(twin) == describe(model)
    # Bodies speed up along their boxes, which constant velocity cannot know.
    ahead = torch.stack([batch.mean[..., 6].cos(), batch.mean[..., 6].sin()], -1)[..., None, :]
    batch = batch._replace(truth=batch.truth + ahead * model.time.square()[:, None])
    model.calibrate(batch)
    model.trust.fill_(1.0)
    optimiser, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(15):
        loss = forecast_loss(model(batch), batch.truth, batch.asked, model.time, 1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="needed a causal one of 22"):
        TrajectoryForecaster(CausalEncoder(5, 8, 1), CLASSES)
    with pytest.raises(ValueError, match="rising"):
        forecaster(horizons=(1.0, 0.5))
    with pytest.raises(DataError, match="no scenes x; there are"):
        ForecastModule(Made(), HORIZONS, test=["x"]).setup()
    with pytest.raises(DataError, match="none for"):
        ForecastModule(Made(1), HORIZONS).setup()
    with pytest.raises(ValueError, match="there are no pieces"):
        batch_of([], [])


def test_pieces_are_dealt_the_same_for_a_seed_and_cut_anew_each_epoch():
    def epochs():
        data = ForecastModule(Made(), HORIZONS, length=16, batch_size=4, seed=3)
        loader = data.train_dataloader()
        return [torch.cat([one.mean.flatten() for one in loader]) for _ in range(2)]

    first, second = epochs(), epochs()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape != first[1].shape or not torch.equal(*first)


def test_the_command_line_fits_and_tests_it(tmp_path):
    import yaml

    spec = {
        "name": "made",
        "model": {
            "class_path": "mambats.track.forecast.TrackForecastTask",
            "init_args": {"model": describe(forecaster())},
        },
        "data": {
            "class_path": "mambats.track.forecast.ForecastModule",
            "init_args": {
                "source": {
                    "class_path": "mambats.track.forecast.KittiLabels",
                    "init_args": {"root": str(tmp_path), "classes": list(CLASSES)},
                },
                "horizons": list(HORIZONS),
                "test": ["0002"],
            },
        },
        "trainer": {"max_epochs": 1},
    }
    _write_labels(tmp_path / "label_02")
    recipe = tmp_path / "made.yaml"
    recipe.write_text(yaml.safe_dump(_plain(spec)))
    words = ["--config", str(recipe), "--runs", str(tmp_path / "runs"), "--trainer.logger", "false"]
    assert main(["fit", *words, "--trainer.accelerator", "cpu"]) == 0
    assert main(["test", *words, "--trainer.accelerator", "cpu"]) == 0
    rows = json.loads((tmp_path / "runs" / "made" / "results.json").read_text())
    assert {"made", TURNING} <= {row["model"] for row in rows}
    assert {row["horizon"] for row in rows} == {5, 10} and all(row["mode"] == "online" for row in rows)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _write_labels(folder):
    """Two bodies that move along in KITTI's text, in three sequences."""
    folder.mkdir()
    for number in range(3):
        lines = []
        for frame in range(30):
            for track in range(2):
                x, z = 3.0 * track - 1, 10 + 5 * track + 0.3 * frame
                lines.append(f"{frame} {track} Car 0 0 0 100 100 200 200 1.5 1.6 4.0 {x:.3f} 1.5 {z:.3f} -1.57")
        (folder / f"{number:04d}.txt").write_text("\n".join(lines) + "\n")
