"""`mambats track` on a small made-up sequence in KITTI's formats."""

from pathlib import Path

import pytest
import torch

from mambats.cli import main
from mambats.formats.kitti import read_detections, read_tracks
from mambats.track.kitti import from_kitti
from mambats.track.projection import Picture, project

RECIPES = Path(__file__).parents[3] / "recipes" / "track"
CAMERA = torch.tensor([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]).double()
FRAMES = 20


def lines() -> list[str]:
    """Two cars that drive ahead, seen at every frame but a few."""
    made = list[str]()
    for f in range(FRAMES):
        for k, (side, far, speed) in enumerate([(-4.0, 15.0, 0.3), (3.0, 25.0, -0.2)]):
            if (f, k) in ((10, 0), (11, 0)):
                continue
            box = torch.tensor([[far + speed * f, -side, 0.75 - 1.6, 4.0, 1.7, 1.5, 0.0]]).double()
            pixels = project(box, Picture(CAMERA, (1242, 375)))[0].tolist()
            cells = [f, 2, *(round(v, 3) for v in pixels), 8.0, 1.5, 1.7, 4.0, side, 1.6, far + speed * f, -1.5708, 0]
            made.append(",".join(str(c) for c in cells))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "det" / "Car").mkdir(parents=True)
    (tmp_path / "calib").mkdir()
    (tmp_path / "det" / "Car" / "0000.txt").write_text("\n".join(lines()) + "\n")
    matrix = " ".join(str(v) for v in CAMERA.flatten().tolist())
    eye, turn = "1 0 0 0 1 0 0 0 1", "0 -1 0 0 0 0 -1 0 1 0 0 0"
    rows = [*(f"P{k}: {matrix}" for k in range(4)), f"R_rect {eye}", f"Tr_velo_cam {turn}", f"Tr_imu_velo {turn}"]
    (tmp_path / "calib" / "0000.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def track(folder: Path, *more: str, recipe: Path = RECIPES / "kitti_car.yaml") -> int:
    words = ["track", "--detections", str(folder / "det"), "--calibration", str(folder / "calib")]
    words += ["--config", str(recipe), "--output", str(folder / "out"), *more]
    return main(words)


def test_tracks_come_out_in_kittis_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(folder) == 0
    assert "mode: online" in capsys.readouterr().out
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES))
    assert set(told.identity.tolist()) == {0, 1}
    seen = from_kitti(read_detections(folder / "det" / "Car" / "0000.txt", FRAMES))
    last = told.between(19, 20)
    torch.testing.assert_close(last.boxes[:, :2].sort(0).values, seen.between(19, 20).boxes[:, :2].sort(0).values,
                               rtol=0, atol=0.3)  # fmt: skip
    torch.testing.assert_close(last.pixels.sort(0).values, seen.between(19, 20).pixels.sort(0).values)


def test_a_lag_fills_gaps_and_first_frames(folder: Path) -> None:
    assert track(folder, "--mode", "fixed-lag", "--lag", "1", "--pixels", "projection") == 0
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES))
    assert told.splits.diff().tolist() == [2] * FRAMES
    assert bool(told.pixels.isfinite().all())


def test_a_camera_gives_its_boxes_and_must_be_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cam" / "Car").mkdir(parents=True)
    found = from_kitti(read_detections(folder / "det" / "Car" / "0000.txt", FRAMES))
    rows = [
        f"{f},{','.join(str(v + 1.0) for v in p)},0.9"
        for f, p in zip(found.frames.tolist(), found.pixels.tolist(), strict=True)
    ]
    (folder / "cam" / "Car" / "0000.txt").write_text("\n".join([*rows, f"{FRAMES + 1},0,0,9,9,0.9"]) + "\n")
    assert track(folder, "--camera", str(folder / "cam")) == 0
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES))
    torch.testing.assert_close(told.between(19, 20).pixels.sort(0).values,
                               found.between(19, 20).pixels.sort(0).values + 1.0)  # fmt: skip
    (folder / "cam" / "Car" / "0000.txt").unlink()
    assert track(folder, "--camera", str(folder / "cam")) == 2
    assert "cam/Car/0000.txt" in capsys.readouterr().err


def change(folder: Path, at: int, text: str | None) -> None:
    rows = lines()
    rows[at : at + 1] = [] if text is None else [text]
    (folder / "det" / "Car" / "0000.txt").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2,2,1,2,3", "line 5: has 5 columns"),
        (lines()[4] + ",1", "line 5: has 16 columns"),
        (lines()[4].replace(",8.0,", ",nan,", 1), "line 5: score is nan"),
        (lines()[4].replace(",1.7,", ",-1.7,", 1), "h w l are"),
        (lines()[4].replace("2,2,", "2,7,", 1), "line 5: class '7' is unknown"),
        (lines()[0], "frames are out of order"),
    ],
)
def test_bad_rows_are_named_and_nothing_is_written(
    folder: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder, 4, text)
    (folder / "det" / "Car" / "0001.txt").write_text("")
    assert track(folder) == 2
    message = capsys.readouterr().err
    assert "0000.txt" in message and said in message
    assert not (folder / "out").exists()


def test_a_calibration_that_is_absent_or_anothers_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "calib" / "0000.txt"
    text = file.read_text()
    file.write_text(text.replace("700.0", "350.0").replace("600.0", "100.0"))
    assert track(folder) == 2
    assert "calibration of another sequence" in capsys.readouterr().err
    file.unlink()
    assert track(folder) == 2
    assert "no calibration of sequence 0000" in capsys.readouterr().err


def test_an_empty_sequence_gives_an_empty_file(folder: Path) -> None:
    (folder / "det" / "Car" / "0000.txt").write_text("")
    assert track(folder) == 0
    assert (folder / "out" / "0000.txt").read_text() == ""


def test_folders_and_recipes_that_do_not_fit_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(folder, "--config", str(folder / "none.yaml")) == 2
    (folder / "bare.yaml").write_text("class: Car\n")
    assert track(folder, "--config", str(folder / "bare.yaml")) == 2
    assert "no `tracker`" in capsys.readouterr().err
    assert track(folder, "--config", str(RECIPES / "kitti_car.yaml")) == 2
    assert "2 recipes follow Car" in capsys.readouterr().err
    (folder / "det" / "Car" / "0000.txt").unlink()
    assert track(folder) == 2
    assert "holds no detections" in capsys.readouterr().err


def test_a_recipes_silhouette_is_what_the_files_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (RECIPES / "kitti_car.yaml").read_text()
    narrow = "silhouette:\n  class_path: mambats.track.Silhouette\n  init_args: {across: 0.5}\n"
    (folder / "narrow.yaml").write_text(narrow + words)
    assert track(folder, recipe=folder / "narrow.yaml") == 0
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES)).between(19, 20).pixels
    seen = from_kitti(read_detections(folder / "det" / "Car" / "0000.txt", FRAMES)).between(19, 20).pixels
    half = (seen[:, 2] - seen[:, 0]).sort().values / 2
    torch.testing.assert_close((told[:, 2] - told[:, 0]).sort().values, half, rtol=1e-3, atol=0.01)
    (folder / "wrong.yaml").write_text(narrow.replace("Silhouette", "Existence").replace("across", "seen") + words)
    assert track(folder, recipe=folder / "wrong.yaml") == 2
    assert "`silhouette` is a Existence, needed a mambats.track.Silhouette" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("kitti_*.yaml")), ids=lambda p: p.stem)
def test_recipes_build(recipe: Path) -> None:
    from mambats.track.recipe import read_recipe

    assert read_recipe(recipe).kind.lower() in recipe.stem


def test_doubtful_tracks_are_written_where_they_are_asked_for(folder: Path) -> None:
    weak = [line.replace(",8.0,1.5,", ",3.0,1.5,") for line in lines()]
    (folder / "det" / "Car" / "0000.txt").write_text("\n".join(weak) + "\n")
    counts = []
    for more in ((), ("--all-tracks",)):
        assert track(folder, *more) == 0
        counts.append(len(from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES)).boxes))
    assert counts[0] < counts[1]


def test_a_camera_keeps_a_track_where_lidar_falls_silent(folder: Path) -> None:
    (folder / "cam" / "Car").mkdir(parents=True)
    found = from_kitti(read_detections(folder / "det" / "Car" / "0000.txt", FRAMES))
    rows = [
        f"{f},{','.join(str(v) for v in p)},0.95"
        for f, p in zip(found.frames.tolist(), found.pixels.tolist(), strict=True)
    ]
    (folder / "cam" / "Car" / "0000.txt").write_text("\n".join(rows) + "\n")
    (folder / "det" / "Car" / "0000.txt").write_text(
        "\n".join(line for line in lines() if int(line.split(",")[0]) < 12)
    )
    assert track(folder, "--camera", str(folder / "cam")) == 0
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES))
    assert told.splits.diff()[14:].tolist() == [2] * (FRAMES - 14)
    assert set(told.identity.tolist()) == {0, 1}


@pytest.mark.parametrize("ego", ["estimated", "none"])
def test_the_sensors_motion_may_be_told_from_what_is_seen(folder: Path, ego: str) -> None:
    assert track(folder, "--ego", ego) == 0
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES))
    seen = from_kitti(read_detections(folder / "det" / "Car" / "0000.txt", FRAMES)).between(19, 20)
    assert set(told.identity.tolist()) == {0, 1}
    torch.testing.assert_close(told.between(19, 20).boxes[:, :2].sort(0).values, seen.boxes[:, :2].sort(0).values,
                               rtol=0, atol=0.3)  # fmt: skip


def test_motion_from_poses_needs_poses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(folder, "--ego", "poses") == 2
    assert "give --poses" in capsys.readouterr().err
    assert not (folder / "out").exists()
