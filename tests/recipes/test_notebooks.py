"""Every notebook, and the example of the README, runs in a process of its own and shows what it says it shows."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "recipes" / "notebooks").glob("*.py"))
LONGEST_CELL = 30


def execute(script, folder, quick=True):
    """Run a script in a folder; return what it printed."""
    paths = [str(ROOT / part) for part in ("", "kernels", "datasets")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}
    environment |= {"MAMBATS_QUICK": "1" if quick else "", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def number(pattern, text):
    [found] = re.findall(pattern, text)
    return float(found)


def scores(folder):
    rows = json.loads((folder / "results.json").read_text())
    return {(row["model"], row["metric"]): row["value"] for row in rows}


def check_forecast(out, folder):
    run = folder / "runs" / "01_forecast"
    models = {model for model, _ in scores(run)}
    assert {"mamba", "last_value", "seasonal_naive", "ridge", "ridge_cycle"} == models
    for model in models:
        assert re.search(rf"^{model} .*online", out, re.MULTILINE), f"{model} is not in the printed table"
    for picture in (run / "ahead.png", run / "pictures" / "forecasts.png"):
        assert picture.stat().st_size > 10_000 and picture.name in out
    # Six, twelve, eighteen and twenty-four hours after the last row, for two cities.
    ahead = re.findall(r"2011-01-01 (\d\d):00:00 ┆ (\w+) +┆ (\S+) +┆ (\S+) ", out)
    assert sorted(hour for hour, *_ in ahead) == sorted(2 * ["05", "11", "17", "23"])
    for _, city, fahrenheit, celsius in ahead:
        assert city in ("seattle", "san_francisco")
        assert float(fahrenheit) == pytest.approx(32 + 1.8 * float(celsius), abs=0.2)
        assert 10 < float(fahrenheit) < 90
    assert "loaded again, the same forecast: True" in out
    assert number(r"largest difference from the parallel pass: (\S+) of", out) <= 1e-5


def test_there_are_notebooks():
    names = ["01_forecast", "02_recording", "03_fusion", "04_track"]
    assert [path.stem for path in NOTEBOOKS] == names, "write a check for the new notebook"


def test_the_forecast_notebook_runs_from_top_to_bottom(tmp_path):
    out = execute(NOTEBOOKS[0], tmp_path)
    check_forecast(out, tmp_path)
    assert "trained 20 steps" in out


def test_the_recording_notebook_mends_what_it_breaks(tmp_path):
    out = execute(NOTEBOOKS[1], tmp_path)
    assert "spikes taken out: 60 of 60" in out
    assert number(r"largest difference (\S+)$", re.findall(r"^as a stream.*$", out, re.MULTILINE)[0]) <= 1e-10
    assert number(r"late by (\S+) ±", out) == pytest.approx(37.3, abs=1)
    assert number(r"gains (\S+) ±", out) == pytest.approx(100, abs=10)
    assert number(r"GNSS under every IMU sample: (\S+)%", out) > 99
    for picture in ("raw.png", "clean.png"):
        assert (tmp_path / "runs/02_recording" / picture).stat().st_size > 10_000
    assert number(r"done in (\d+) s", out) < 120  # under a minute on two quiet cores


def check_fusion(out, folder):
    for alone in ("inertial unit alone", "wheels alone", "satellites alone", "filter of all three"):
        assert number(rf"^{alone} +position +(\S+) m", "".join(re.findall(rf"^{alone}.*$", out, re.MULTILINE))) > 0
    for fault in ("gnss off", "gnss delayed 100 ms", "wheel off", "imu stuck"):
        assert len(re.findall(rf"^{fault} .*filter without imu", out, re.MULTILINE)) == 1
    assert number(r"largest difference from the pass over the window: (\S+) m", out) <= 1e-3
    table = out.split("navigator nees_position")[1]
    for fault in ("nominal", "imu off", "imu stuck", "gnss off", "wheel off", "wheel stuck"):
        assert re.search(rf"^{fault} ", table, re.MULTILINE), f"{fault} is not in the table"
    pictures = ("sound", "sound_errors", "weights", "heard", "stuck", "stuck_errors", "degradation")
    for picture in pictures:
        assert (folder / "runs" / "03_fusion" / f"{picture}.png").stat().st_size > 10_000


def test_the_fusion_notebook_runs_from_top_to_bottom(tmp_path):
    out = execute(NOTEBOOKS[2], tmp_path)
    check_fusion(out, tmp_path)
    assert "navigator trained on" in out


@pytest.mark.slow
def test_the_fusion_notebook_keeps_what_it_promises(tmp_path):
    out = execute(NOTEBOOKS[2], tmp_path, quick=False)
    check_fusion(out, tmp_path)
    # Alone the inertial unit is lost and the filter is not; a stuck unit takes the filter along.
    alone, fused = (
        number(rf"^{name} +position +(\S+) m", "".join(re.findall(rf"^{name}.*$", out, re.MULTILINE)))
        for name in ("inertial unit alone", "filter of all three")
    )
    assert alone > 10 * fused
    before, after = re.findall(r"without inertial unit: (\S+) before, (\S+) after", out)[0]
    assert float(after) > 2 * float(before)
    stuck = re.findall(r"^imu stuck +(\d\S*?)\*? +(\d\S*?)\*? ", out, re.MULTILINE)[-1]
    assert float(stuck[0]) < 0.7 * float(stuck[1])
    # Under a minute on a quiet core; a busy machine may take three times that.
    assert number(r"done in (\d+) s", out) < 180


def check_track(out, folder):
    run = folder / "runs" / "04_track"
    for name in (
        "falsified.png",
        "crossing_above.png",
        "crossing_above.gif",
        "crossing_timeline.png",
        "crossing_nis.png",
    ):
        assert (run / name).stat().st_size > 10_000 and name in out
    for kind in ("car", "pedestrian", "cyclist"):
        online, late = (
            number(rf"^{kind}, {mode} +(\S+) ", line(out, f"{kind}, {mode}")) for mode in ("online", "offline")
        )
        assert 0.5 < online <= late + 0.02
    timid, stated, bold = (
        number(r"NIS/7 +(\S+)", line(out, f"covariances {w}")) for w in ("ten times", "as", "a tenth")
    )
    assert timid < 0.3 < 0.7 < stated < 1.4 < bold


def line(out, begin):
    [found] = re.findall(rf"^{re.escape(begin)}.*$", out, re.MULTILINE)
    return found


def test_the_track_notebook_runs_from_top_to_bottom(tmp_path):
    check_track(execute(NOTEBOOKS[3], tmp_path), tmp_path)


@pytest.mark.slow
def test_the_track_notebook_keeps_what_it_promises(tmp_path):
    out = execute(NOTEBOOKS[3], tmp_path, quick=False)
    check_track(out, tmp_path)
    assert all(0.85 < float(found) < 1.15 for found in re.findall(r"N[IE][SE]E?S?/7 (\S+?), ", out))
    assert number(r"done in (\d+) s", out) < 120  # 20 s on one quiet core


@pytest.mark.slow
def test_the_forecast_notebook_keeps_what_it_promises(tmp_path):
    out = execute(NOTEBOOKS[0], tmp_path, quick=False)
    check_forecast(out, tmp_path)
    score = scores(tmp_path / "runs" / "01_forecast")
    for baseline in ("last_value", "seasonal_naive", "ridge", "ridge_cycle"):
        assert score["mamba", "mse"] < score[baseline, "mse"]
    # Too narrow in a season never seen, as the text says, yet an interval.
    assert 0.75 < score["mamba", "coverage_90"] < 0.95
    # The promise is under a minute on two quiet cores; a busy machine may take twice that.
    assert number(r"done in (\d+) s", out) < 120


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_as_cells_of_one_idea(notebook):
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(notebook, fmt="py:percent").cells
    kinds = [cell.cell_type for cell in cells]
    assert kinds[0] == "markdown" and cells[0].source.startswith("# ")
    assert all(a != b for a, b in pairwise(kinds)), "text and code take turns"
    long = [cell.source.splitlines()[0] for cell in cells if len(cell.source.splitlines()) > LONGEST_CELL]
    # The first code cell imports.
    assert [first for first in long if not first.startswith("import")] == []


def test_the_example_of_the_readme_runs(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## In Python\n")[1].split("\n## ")[0]
    if "LEAD:" in section:
        pytest.skip("the README has no example yet")
    code = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    ") or not line)
    assert "max_epochs=1," in code
    script = tmp_path / "example.py"
    script.write_text(code.replace("max_epochs=1,", "max_steps=2, enable_progress_bar=False,"), encoding="utf-8")
    out = execute(script, tmp_path)
    assert "shape: (24, 5)" in out and "2011-01-01 23:00:00" in out
