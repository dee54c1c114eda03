"""Scores equal those of the published evaluators, to the last digits.

golden.json was worked out by TrackEval 1.3.0, by AB3DMOT's evaluator (Python 3.11, its assignment by scipy) and by
nuscenes-devkit 1.2.0 with motmetrics 1.4.0 on the sequences of `sequences.py`.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mambats.track.kitti_folder import read_labelled_tracks, read_seqmap
from mambats.track.metrics import (
    HOTA,
    IDF1,
    SAMOTA,
    Ab3dmotRule,
    ClearMOT,
    KittiRule,
    NuscenesRule,
    ab3dmot_scores,
    evaluate,
    nuscenes_scores,
)
from mambats.track.metrics.assign import sure_pairs
from tests.mambats.track.metrics.sequences import FRAMES, write_sequences

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
SEQMAP = "evaluate_tracking.seqmap.training"


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    labels, tracks = write_sequences(tmp_path_factory.mktemp("made"))
    return read_labelled_tracks(labels, tracks, FRAMES)


def worst(found, wanted):
    return max(abs(float(found[name]) - value) for name, value in wanted.items())


@pytest.mark.parametrize("name", ["car", "pedestrian"])
def test_trackeval(sequences, name):
    rule = KittiRule(name.capitalize())
    metrics = [HOTA(rule), ClearMOT(rule), IDF1(rule)]
    for metric in metrics:
        for one in sequences:
            metric.update(one.labels, one.tracks)
    found = {key: value for metric in metrics for key, value in metric.compute().items()}
    assert worst(found, GOLDEN["TrackEval"][name]) < 1e-12
    assert set(GOLDEN["TrackEval"][name]) <= set(found)


def test_the_sequences_are_hard_enough(sequences):
    """Labels that do not count, frames in which boxes have rivals, and frames in which none has."""
    scene = KittiRule("Car")(sequences[0].labels, sequences[0].tracks)
    sure, crowded = sure_pairs(scene, scene.similarity >= 0.3)
    assert len(sure) > 20
    assert len(crowded) > 2
    assert len(scene.labels) < int((sequences[0].labels.labels == 0).sum())


@pytest.mark.parametrize("case", GOLDEN["AB3DMOT"])
def test_ab3dmot(sequences, case):
    name, similarity = case.split()
    rule = Ab3dmotRule(name.capitalize(), "iou_2d" if similarity == "2d" else "iou_3d")
    threshold = 0.5 if similarity == "2d" else 0.25
    found = ab3dmot_scores([rule(one.labels, one.tracks) for one in sequences], threshold)
    assert worst(found, GOLDEN["AB3DMOT"][case]) < 1e-12
    defined = ab3dmot_scores([rule(one.labels, one.tracks) for one in sequences], threshold, published=False)
    assert defined["sAMOTA"] >= found["sAMOTA"]


def test_ab3dmot_as_a_metric(sequences):
    metric = SAMOTA(Ab3dmotRule("Car"))
    for one in sequences:
        metric.update(one.labels, one.tracks)
    assert worst(metric.compute(), GOLDEN["AB3DMOT"]["car 3d"]) < 1e-12


@pytest.mark.parametrize("name", ["car", "pedestrian"])
def test_nuscenes(sequences, name):
    rule = NuscenesRule(name.capitalize())
    found = nuscenes_scores([rule(one.labels, one.tracks) for one in sequences])
    assert worst(found, GOLDEN["nuScenes"][name]) < 1e-9


def chained(root: Path, name: str, code: int, frames: int) -> list[str]:
    """Detections, each given the identity of the nearest within 2 m a frame before: a tracker of five lines."""
    path = root / "det3d_pointrcnn" / name
    rows = np.loadtxt(path, delimiter=",", ndmin=2) if path.stat().st_size else np.zeros((0, 15))
    lines, live, fresh = list[str](), {}, code * 10_000
    for frame in range(frames):
        now = {}
        for row in rows[(rows[:, 0] == frame) & (rows[:, 6] > 0)]:
            near = [(np.hypot(*(row[[10, 12]] - at)), one) for one, at in live.items() if one not in now]
            distance, identity = min(near, default=(9.0, -1))
            if distance > 2:
                identity, fresh = fresh, fresh + 1
            now[identity] = row[[10, 12]]
            numbers = " ".join(f"{value:.6f}" for value in (*row[2:6], *row[7:14], row[6]))
            lines.append(f"{frame} {identity} {name.split('/')[0]} 0 0 -10 {numbers}")
        live = now
    return lines


@pytest.mark.slow
def test_trackeval_on_real_sequences(data_root, tmp_path):
    """All labelled sequences there are, scored by TrackEval in its own environment."""
    python = os.environ.get("MAMBATS_TRACKEVAL")
    if not python:
        pytest.skip("set MAMBATS_TRACKEVAL to a Python that has the package trackeval (not this one)")
    root = data_root / "fusion" / "kitti_tracking"
    tracks = tmp_path / "trackers" / "chained" / "data"
    tracks.mkdir(parents=True)
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "label_02").symlink_to(root / "label_02")
    names, seqmap = sorted(path.stem for path in (root / "label_02").glob("*.txt")), tmp_path / "gt" / SEQMAP
    lengths = {name: 1 + int(np.loadtxt(root / "label_02" / f"{name}.txt", usecols=0)[-1]) for name in names}
    seqmap.write_text("".join(f"{name} empty 000000 {count:06d}\n" for name, count in lengths.items()))
    for name, count in lengths.items():
        lines = [line for code, kind in enumerate(("Car", "Pedestrian"))
                 for line in chained(root, f"{kind}/{name}.txt", code, count)]  # fmt: skip
        lines.sort(key=lambda line: int(line.split()[0]))
        (tracks / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    script = Path(__file__).parent / "run_trackeval.py"
    subprocess.run([python, script, tmp_path / "gt", tmp_path / "trackers", tmp_path / "found.json"], check=True)
    wanted = json.loads((tmp_path / "found.json").read_text())
    sequences = read_labelled_tracks(tmp_path / "gt" / "label_02", tracks, read_seqmap(seqmap))
    found = evaluate(sequences, ["car", "pedestrian"])["TrackEval"]
    for name in ("Car", "Pedestrian"):
        assert wanted[name.lower()]["HOTA"] > 0.1
        assert (
            worst(found[name], {key: wanted[name.lower()][key] for key in found[name] if key in wanted["car"]}) < 1e-9
        )
