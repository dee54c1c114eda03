"""Real recordings, pushed: what the batch pass says, in order, out of order and with doubles."""

import numpy as np
import pytest
import torch

import bench_replay as drives
import bench_replay_tracks as tracks
import replay


def sequences(data_root):
    root = data_root / "fusion" / "kitti_tracking"
    names = sorted(path.stem for path in (root / "det3d_pointrcnn" / "Car").glob("*.txt"))
    if not names:
        pytest.skip("there are no detections of cars under kitti_tracking/det3d_pointrcnn")
    return root, names


def holds(row, within=1e-5):
    assert row["push against batch"] <= within and row["disorder identical"], row
    assert row["used"] == row["packets"] and row["late"] == 0 and row["doubles"] > 0


def test_detections_pushed_are_the_tracks_of_the_batch_run(data_root):
    root, names = sequences(data_root)
    objects = tracks.kitti_detections(root, names[0])
    holds(replay.equality(tracks.kitti_replay(objects.between(0, min(60, len(objects))), names[0])))


def test_a_wrong_batch_is_noticed(data_root):
    root, names = sequences(data_root)
    given = tracks.kitti_replay(tracks.kitti_detections(root, names[0]).between(0, 20), names[0])
    answers, _ = replay.pushed(given, given.packets)
    assert replay.apart(answers, given.wanted) < 1e-5
    shifted = {stamp: {**parts, "box": parts["box"] + 1e-2} for stamp, parts in given.wanted.items()}
    assert replay.apart(answers, shifted) > 1e-5
    assert replay.apart(answers[:-1], given.wanted) == np.inf
    assert not replay.same(answers, answers[:-1])


def test_an_mcap_file_pushed_is_what_a_forecaster_says_at_once(data_root):
    holds(replay.equality(drives.forecast_replay(data_root / "fusion", 120)))


def test_a_flight_pushed_is_what_a_navigator_says_at_once(data_root):
    torch.set_num_threads(1)
    drive = drives.fixes(drives.euroc_drive(data_root / "fusion", 1.2), "euroc", 0)
    given = drives.drive_replay(drive, "euroc")
    holds(replay.equality(given._replace(wanted=drives.drive_batch(drive, "euroc", given.tick_ns))))


@pytest.mark.slow
def test_every_sequence_is_the_batch_run(data_root):
    root, names = sequences(data_root)
    for name in names:
        holds(replay.equality(tracks.kitti_replay(tracks.kitti_detections(root, name), name)))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "read"), [("euroc", drives.euroc_drive), ("mcap", drives.mcap_drive)])
def test_drives_are_the_batch_pass(data_root, kind, read):
    rows = drives.drive_equality(drives.fixes(read(data_root / "fusion", 20), kind, 0), kind)
    holds(rows[0])
    # Longer windows sum readings at the bias of their start, and add up float32 otherwise: close, not to rounding.
    second, whole = rows[1]["push against batch"], rows[2]["push against batch"]
    assert (second < 1e-3 and whole < 5e-3) if kind == "euroc" else (second < 1e-5 and whole < 1e-4), rows


@pytest.mark.slow
def test_loss_costs_less_where_ticks_carry_tracks_on(data_root):
    root, names = sequences(data_root)
    labelled = [name for name in names if (root / "label_02" / f"{name}.txt").is_file()][:2]
    rows = tracks.kitti_loss(root, labelled, (0.0, 0.3), (0,))
    score = {(row["loss"], row["ticks"]): row["HOTA"] for row in rows}
    assert score[0.0, True] == pytest.approx(score[0.0, False])
    assert score[0.3, False] < 0.85 * score[0.0, False] < score[0.3, True]
    flight = drives.drive_loss(drives.euroc_drive(data_root / "fusion", 20), "euroc", (0.0, 0.5), (0,))
    assert flight[0]["RMSE m"] < 0.3 and flight[1]["RMSE m"] < 2 * flight[0]["RMSE m"]
