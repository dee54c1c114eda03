"""evo as a process of its own, where its commands are installed: it is GPL and never imported."""

import re
import shutil
import subprocess

import pytest
import torch

from mambats.odometry.metrics import ATE, RPE
from tests.mambats.odometry.runs import moved, wavering, winding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("evo_ape") is None, reason="evo is not installed: pip install evo, elsewhere"),
]
ALIGNMENTS = {"none": [], "first": ["--align_origin"], "se3": ["-a"], "sim3": ["-a", "-s"]}
PARTS = {"translation": "trans_part", "rotation": "angle_rad"}


def write_tum(run, path):
    rows = torch.cat([run.stamps.double()[:, None] / 1e9, run.position, run.rotation], 1)
    path.write_text("\n".join(" ".join(f"{value:.17g}" for value in row) for row in rows.tolist()) + "\n")
    return str(path)


def evo(command, folder, truth, estimate, *words):
    files = [write_tum(truth, folder / "truth.tum"), write_tum(estimate, folder / "estimate.tum")]
    done = subprocess.run([command, "tum", *files, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(re.search(r"rmse\s+(\S+)", done.stdout)[1])


@pytest.mark.parametrize("relation", PARTS)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_ate(alignment, relation, tmp_path):
    truth = winding()
    estimate = moved(wavering(truth), scale=1.1)
    metric = ATE(alignment, relation)
    metric.update(estimate, truth)
    expected = evo("evo_ape", tmp_path, truth, estimate, "-r", PARTS[relation], *ALIGNMENTS[alignment])
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("relation", PARTS)
@pytest.mark.parametrize(("delta", "unit", "words"), [(1.0, "s", ["10", "-u", "f"]), (5.0, "m", ["5", "-u", "m"])])
def test_rpe(delta, unit, words, relation, tmp_path):
    truth = winding()
    estimate = moved(wavering(truth))
    metric = RPE(delta, unit, relation)
    metric.update(estimate, truth)
    words = ["-d", *words, "--all_pairs", "--pairs_from_reference", "-r", PARTS[relation]]
    assert metric.compute().item() == pytest.approx(evo("evo_rpe", tmp_path, truth, estimate, *words), abs=1e-6)
