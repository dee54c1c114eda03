"""Pictures of tracks show what the tracker told: boxes, ids, lives, consistency."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats.pictures.chi_square import _chance, _Law, draw_chi_square
from mambats.track import tell
from mambats.track.pictures import (
    Scene,
    animate_above,
    draw_above,
    draw_timeline,
    draw_tracks,
    joined,
    record_tracks,
    scene_of,
)
from mambats.track.pictures.above import IDENTITIES, corners, extent
from mambats.track.pictures.timeline import _rows
from tests.mambats.track.worlds import objects, straight, tracker

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Three bodies; the second is not seen for five frames."""
    _, truth = straight(frames=25)
    frames = [one if not 10 <= f < 15 else one[[0, 2]] for f, one in enumerate(truth)]
    seen = objects(frames)
    history = tracker().run(seen)
    return scene_of(tell(history, seen, "offline"), seen, "offline", name="made", history=history)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def shown(image: np.ndarray, colour: str) -> int:
    return int((np.abs(image - np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)).sum(2) < 8).sum())


def test_a_scene_says_who_coasts(scene: Scene) -> None:
    assert len(scene.lives) == 3 and sorted(set(scene.turn.tolist())) == [0, 1, 2]
    assert scene.coasting.sum() == 5
    assert sorted(scene.frame[scene.coasting]) == [10, 11, 12, 13, 14]
    assert len(set(scene.identity[scene.coasting])) == 1
    assert scene.word(0) == str(scene.identity[0]) and len(scene.nis["Car"]) > 50


def test_a_frame_from_above_has_all_tracks_in_their_colours(scene: Scene, tmp_path: Path) -> None:
    image = pixels(draw_above(scene, tmp_path / "deep" / "above.png", frame=12))
    assert all(shown(image, colour) > 30 for colour in IDENTITIES[:3])
    assert shown(image, IDENTITIES[3]) == 0
    alone = replace(scene, covariance=None, coasting=np.zeros_like(scene.coasting))
    filled = pixels(draw_above(alone, tmp_path / "alone.png", frame=12))
    assert (filled != image).any()


def test_corners_turn_with_the_box() -> None:
    box = np.array([[10.0, 5.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2]])
    np.testing.assert_allclose(sorted(map(tuple, corners(box)[0].round(9))), [(9, 3), (9, 7), (11, 3), (11, 7)])


def test_trails_stand_still_in_the_world_when_the_sensor_moves(scene: Scene) -> None:
    from mambats.track.pictures.above import _trail

    life = scene.lives[0]
    poses = np.stack([np.arange(25.0), np.zeros(25), np.zeros(25), np.zeros(25)], axis=1)
    boxes = scene.boxes.copy()
    boxes[life, :2] = np.stack([50.0 - np.arange(25.0), np.zeros(25)], axis=1)  # of a post at x = 50 in the world
    moving = replace(scene, boxes=boxes, poses=poses)
    np.testing.assert_allclose(_trail(moving, int(life[-1]), 9.0), np.tile([26.0, 0.0], (25, 1)))
    turned = replace(moving, poses=np.pad(np.full((25, 1), np.pi / 2), ((0, 0), (3, 0))))
    np.testing.assert_allclose(_trail(turned, int(life[-1]), 9.0), boxes[life, :2], atol=1e-9)


def test_an_animation_has_the_sequences_frames_and_speed(scene: Scene, tmp_path: Path) -> None:
    with Image.open(animate_above(scene, tmp_path / "a.gif", most=10)) as opened:
        assert opened.n_frames == 9  # each third of 25
        assert opened.info["duration"] == 300
        opened.seek(4)
        image = np.asarray(opened.convert("RGB")).astype(int)
    assert all(shown(image, colour) > 10 for colour in IDENTITIES[:3])
    assert image[2, 2].tolist() == [255, 255, 255]


def test_a_timeline_shows_lives_and_gaps(scene: Scene, tmp_path: Path) -> None:
    before = shown(pixels(draw_timeline(scene, tmp_path / "t.png")), IDENTITIES[0])
    whole = replace(scene, coasting=np.zeros_like(scene.coasting))
    after = shown(pixels(draw_timeline(whole, tmp_path / "t.png")), IDENTITIES[0])
    assert before == pytest.approx(after * 70 / 75, rel=0.03)


def test_many_tracks_share_rows_where_there_is_room() -> None:
    frame = np.arange(100)
    lives = [np.arange(k, k + 2) for k in range(0, 98, 2)]
    rows = _rows(lives, frame, 5)
    assert len(lives) == 49 and max(rows) == 3
    assert _rows(lives[:40], frame, 5) == list(range(40))


def test_classes_are_told_apart_when_scenes_are_joined(scene: Scene) -> None:
    other = replace(scene, classes=("Cyclist",), nis={"Cyclist": scene.nis["Car"]})
    both = joined([scene, other])
    assert len(both.lives) == 6 and both.classes == ("Car", "Cyclist") and set(both.nis) == {"Car", "Cyclist"}
    assert {both.word(0)[:3], both.word(len(both.boxes) - 1)[:3]} == {"Ca ", "Cy "}
    assert both.covariance is not None and joined([scene, replace(other, covariance=None)]).covariance is None
    with pytest.raises(ValueError, match="cannot be joined"):
        joined([scene, replace(other, stamps=other.stamps + 1)])
    with pytest.raises(ValueError, match="cannot be joined"):
        joined([])


def test_all_pictures_come_from_one_call(scene: Scene, tmp_path: Path) -> None:
    drawn = draw_tracks(scene, tmp_path, animation=False)
    assert [path.name for path in drawn] == ["made_above.png", "made_timeline.png", "made_nis.png"]
    assert all(path.stat().st_size > 5000 for path in drawn)


def test_odd_sequences(scene: Scene, tmp_path: Path) -> None:
    nobody = objects([torch.zeros(0, 7).double()] * 3)
    history = tracker().run(nobody)
    empty = scene_of(tell(history, nobody), nobody, "online", name="empty", history=history)
    assert [path.name for path in draw_tracks(empty, tmp_path)] == [
        "empty_above.png", "empty_timeline.png", "empty_above.gif",
    ]  # fmt: skip
    none = scene_of(replace(tell(history, nobody).between(0, 0)), nobody.between(0, 0), "online")
    assert draw_tracks(none, tmp_path) == []
    for draw in (draw_above, draw_timeline, animate_above):
        with pytest.raises(ValueError, match="frame"):
            draw(none, tmp_path / "none.png")
    with pytest.raises(ValueError, match="no frame 99"):
        draw_above(scene, tmp_path / "none.png", frame=99)
    with pytest.raises(ValueError, match="no identity"):
        scene_of(nobody, nobody, "online")
    with pytest.raises(ValueError, match="2 frames, detections 3"):
        scene_of(tell(history, nobody).between(0, 2), nobody, "online")
    assert not (tmp_path / "none.png").exists()


def test_the_extent_leaves_strays_out_and_shows_the_sensor(scene: Scene) -> None:
    boxes = np.tile(scene.boxes[:1], (1000, 1))
    boxes[:, 0], boxes[0, 0] = 30.0, 10_000.0
    low, high = extent(replace(scene, boxes=boxes))
    assert high[0] < 100 and low[0] <= -4 and (low < 0).all() and (high > 0).all()


def test_a_recording_has_every_frame(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from mambats.pictures.rerun import StreamView

    with StreamView(tmp_path / "t.rrd") as view:
        record_tracks(scene, view, points={3: np.zeros((7, 3))}, images={3: np.zeros((10, 20, 3), np.uint8)})
    from tests.mambats.pictures.test_rerun import column, read

    found = read(tmp_path / "t.rrd")
    words = column(found["/scene/tracks"], "labels")
    assert len(words) == 25 and sum("coasting" in word for row in words for word in row) == 5
    assert len(column(found["/scene/lidar"], "positions")) == 1


def test_chi_square_is_drawn_beside_its_law(tmp_path: Path) -> None:
    from mambats.calibration import chi_square_quantile

    law = _Law(7)
    assert law.quantile(np.array([0.95]))[0] == pytest.approx(chi_square_quantile(0.95, 7), rel=1e-4)
    assert np.trapezoid(law.density(law.grid), law.grid) == pytest.approx(1.0, abs=1e-4)
    low, high = _chance(np.array([0.5, 0.001]), 100)
    assert low[0] == pytest.approx(0.404, abs=1e-3) and high[0] == pytest.approx(0.596, abs=1e-3) and low[1] > 0
    random = np.random.default_rng(0)
    values = {"a": random.chisquare(7, 500), "b": random.chisquare(7, 80) * 3, "none": np.zeros(0), "one": np.ones(1)}
    assert draw_chi_square(values, 7, tmp_path / "c.png").stat().st_size > 20_000
    with pytest.raises(ValueError, match="no update"):
        draw_chi_square({"none": np.zeros(0)}, 7, tmp_path / "d.png")
    with pytest.raises(ValueError, match="not finite"):
        draw_chi_square({"a": np.array([1.0, np.nan])}, 7, tmp_path / "d.png")
    assert not (tmp_path / "d.png").exists()
