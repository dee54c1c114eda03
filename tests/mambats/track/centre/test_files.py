"""`mambats track --sweeps`: from files of points to identities, by a head that is trained here on blocks of points."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mambats.checkpoint import write_checkpoint
from mambats.cli import main
from mambats.encoders.features import PillarEncoder, PointGrid
from mambats.formats.error import DataError
from mambats.formats.kitti import read_tracks
from mambats.track.centre import CentreDetector, DetectTask, SweepBatch, SweepReading
from mambats.track.centre.files import SweepFiles, SweepSources, numbered, read_detector, spatial
from mambats.track.kitti import from_kitti
from mambats.track.recipe import read_recipes

RECIPE = Path(__file__).parents[4] / "recipes" / "track" / "raw_sim_track.yaml"
FRAMES, SIZE = 12, (3.9, 1.6, 1.5)
SHIFT = (0.3, 0.1, -0.2)  # metres from the LiDAR to the camera, ahead, left, up


def block(x: float, y: float, random: np.random.Generator) -> np.ndarray:
    """Points of a car at (x, y), in the LiDAR's axes."""
    inside = (random.random((60, 3)) - 0.5) * SIZE + [x, y, SIZE[2] / 2 - 1.8]
    return np.column_stack([inside, np.full(60, 0.5)]).astype(np.float32)


def learned() -> CentreDetector:
    """A head that finds blocks."""
    torch.manual_seed(0)
    grid = PointGrid((-8.0, -8.0, -3.0), (8.0, 8.0, 5.0), (1.0, 1.0, 8.0))
    model = CentreDetector(PillarEncoder(6, 16, grid, layers=0), ("car", "pedestrian", "cyclist"), inner=16, levels=1)
    optimiser, random = torch.optim.Adam(model.parameters(), 5e-3), np.random.default_rng(0)
    for _ in range(80):
        place = random.uniform(-6, 6, (8, 2))
        points = np.stack([np.column_stack([block(x, y, random), np.zeros(60)]) for x, y in place])
        boxes = np.column_stack([place, np.full(8, SIZE[2] / 2 - 1.8), np.tile(SIZE, (8, 1)), np.zeros(8)])
        batch = SweepBatch(
            torch.from_numpy(points).float(), torch.from_numpy(boxes)[:, None].float(), torch.zeros(8, 1, 2),
            torch.zeros(8, 1, dtype=torch.int64),
        )  # fmt: skip
        loss = torch.stack(list(model.losses(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task, path = DetectTask(learned()), tmp_path_factory.mktemp("head") / "last.ckpt"
    task.channels, task.period_ns, task.source, task.fingerprint = ("x", "y", "z", "intensity", "age"), 10**8, "", ""
    held = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(held)
    write_checkpoint(held, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One car that drives by at 2.5 m/s; the sweep of frame 5 is missing."""
    random, sweeps = np.random.default_rng(1), tmp_path / "velodyne" / "0000"
    sweeps.mkdir(parents=True)
    for f in range(FRAMES):
        if f != 5:
            (sweeps / f"{f:06d}.bin").write_bytes(block(2.6 + 0.25 * f, -2.0, random).tobytes())
    ahead, left, up = SHIFT
    move, eye = f"0 -1 0 {left} 0 0 -1 {up} 1 0 0 {-ahead}", "1 0 0 0 1 0 0 0 1"
    rows = [*(f"P{k}: 100 0 600 0 0 100 180 0 0 0 1 0" for k in range(4)), f"R_rect {eye}", f"Tr_velo_cam {move}"]
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "0000.txt").write_text("\n".join([*rows, f"Tr_imu_velo {eye[:5]} 0 0 1 0 0 0 0 1 0"]) + "\n")
    return tmp_path


def track(folder: Path, checkpoint: Path, *more: str) -> int:
    words = ["track", "--sweeps", str(folder / "velodyne"), "--detector", str(checkpoint), "--config", str(RECIPE)]
    return main([*words, "--calibration", str(folder / "calib"), "--output", str(folder / "out"), *more])


@pytest.mark.parametrize("ego", ["none", "estimated"])
def test_points_become_one_identity(
    folder: Path, checkpoint: Path, ego: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track(folder, checkpoint, "--ego", ego) == 0
    assert f"in {FRAMES} frames" in capsys.readouterr().out
    told = from_kitti(read_tracks(folder / "out" / "0000.txt", FRAMES)).of_class("Car")
    assert told.identity.unique().tolist() == [0] and told.splits.diff()[[3, 4, 6, 7, 8, 9]].tolist() == [1] * 6
    place = torch.stack([2.6 + 0.25 * torch.arange(FRAMES) - SHIFT[0], torch.full((FRAMES,), -2.0 - SHIFT[1])], -1)
    # In the camera's axes, where KITTI's files have boxes. Of one body alone nobody knows who moves: told from it,
    # sweeps are laid over one another as if it stood, which this head never saw.
    limit = 0.6 if ego == "none" else 1.5
    assert float((told.boxes[:, :2] - place[told.frames]).abs().max()) < limit
    assert float((told.boxes[:, 2] - (SIZE[2] / 2 - 1.8 - SHIFT[2])).abs().max()) < 0.4


def test_sweeps_are_laid_over_one_another_by_poses(folder: Path, checkpoint: Path) -> None:
    files = SweepFiles(folder / "velodyne" / "0000", _calibration(folder), SweepReading({"car": "Car"}, (0, 1)))
    way = torch.tensor([[0.3 * f, 0.0, 0.0, 0.0] for f in range(FRAMES)]).double()
    table = files._table([2, 3], way)
    batch = table.batch(torch.tensor([1]), (0, 1))
    own, before = batch.points[0, :60], batch.points[0, 60:]
    assert float((own[:, :3].mean(0) - before[:, :3].mean(0))[0]) == pytest.approx(0.55, abs=0.3)
    assert before[:, 4].unique().tolist() == pytest.approx([0.1])
    assert len(files.found(read_detector(checkpoint), way)) == FRAMES
    torch.testing.assert_close(spatial(torch.tensor([[1.0, 2, 3, 0]]).double())[0, :3, 3].tolist(), [1.0, 2.0, 3.0])


def test_words_that_do_not_go_together_are_refused(
    folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["track", "--config", str(RECIPE), "--calibration", str(folder / "calib"), "--output", str(folder / "out")]
    for more, said in (
        ([], "give --detections, or --sweeps"),
        (["--detector", str(checkpoint)], "finds bodies in --sweeps"),
        (["--detector", str(checkpoint), "--sweeps", str(folder / "none")], "no folder of a sequence"),
        (["--detections", "d", "--sweeps", "s"], "give --rerun"),
    ):
        assert main([*base, *more]) == 2
        assert said in capsys.readouterr().err
    assert track(folder, folder / "none.ckpt") == 2
    (folder / "calib" / "0000.txt").unlink()
    assert track(folder, checkpoint) == 2
    assert "no calibration of sequence 0000" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_broken_sweeps_empty_ones_and_other_classes(folder: Path, checkpoint: Path) -> None:
    file = folder / "velodyne" / "0000" / "000003.bin"
    file.write_bytes(b"")
    sources = SweepSources(
        folder / "velodyne", folder / "calib", model=read_detector(checkpoint), reading=SweepReading({"car": "Car"})
    )
    assert int(sources.read("Car", "0000").splits.diff()[3]) == 0
    with pytest.raises(DataError, match="finds Car, a recipe follows 'Tram'"):
        sources.read("Tram", "0000")
    file.write_bytes(b"123")
    with pytest.raises(DataError, match=r"000003\.bin"):
        SweepSources(folder / "velodyne", folder / "calib", model=sources.model, reading=sources.reading).read(
            "Car", "0000"
        )
    with pytest.raises(DataError, match="holds no file"):
        numbered(folder, (".bin",))
    with pytest.raises(ValueError, match="needed 0 first"):
        SweepReading({}, (1,))


def test_the_recipe_follows_three_classes() -> None:
    assert [one.kind for one in read_recipes(RECIPE)] == ["Car", "Pedestrian", "Cyclist"]


def _calibration(folder: Path):
    from mambats.formats.kitti import read_calibration

    return read_calibration(folder / "calib" / "0000.txt")
