"""The worked example of CONTRIBUTING.md works."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mambats.formats import REFUSE, Column, Policy, read_sensor_csv
from mambats.series import Recording, Rigid
from mambats_datasets import SimulatedRobots
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.noise import white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory


def blocks():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Worked example")[1].split("\n## ")[0]
    found = re.findall(r"(?:^(?:    .*)?\n)+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found if block.strip()]


def test_a_sensor_and_its_format(tmp_path):
    sensor, reader = blocks()
    names = {"dataclass": dataclass, "Path": Path, "torch": torch, "REFUSE": REFUSE, "Column": Column}
    names |= {"Policy": Policy, "read_sensor_csv": read_sensor_csv, "Recording": Recording, "Rigid": Rigid}
    names |= {"Timing": Timing, "white": white, "Reading": Reading, "Trajectory": Trajectory}
    exec(sensor, names)
    recording = SimulatedRobots(series=1, duration=5.0, sensors={"radar": names["Radar"]()}).recordings()[0]
    radar = recording.streams["radar"]
    assert len(radar) == 100 and radar.units == ("m/s",) and radar.covariance is not None
    exec(reader, names)
    (tmp_path / "gun.csv").write_text("time (s),speed (km/h)\n0.0,36\n0.05,72\n")
    np.testing.assert_allclose(names["read_radar"](tmp_path / "gun.csv").streams["radar"].values[:, 0], [10, 20])
