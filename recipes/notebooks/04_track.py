# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Who is who? From detections to tracks that know how sure they are
#
# A detector sees boxes, frame by frame: noisy, some missed, some false, and nobody tells it who is who. A tracker joins
# them to bodies with an identity, a velocity and a covariance. Here cars, pedestrians and cyclists cross around a
# sensor and hide one another. The world is simulated, so that every answer can be held against the truth.
#
# You need `pip install 'mambats[train,plot,robot]'`. It runs as it is (`python 04_track.py`) in about 20 seconds on one
# core, and opens as a notebook in Jupyter with jupytext. What it makes lies in `runs/04_track`. Detections of your own
# in KITTI's format go through `mambats track`, see the end.

# %%
import math
import os
import time
from pathlib import Path

import torch

from mambats.calibration import ChiSquareMean
from mambats.pictures.chi_square import draw_chi_square
from mambats.track import (
    ByExistence,
    ConstantVelocity,
    Deleter,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Predictor,
    ScoreCalibration,
    SinglePass,
    Tracker,
    Updater,
    tell,
)
from mambats.track.centre import ToldNoise
from mambats.track.metrics import HOTA, ClearMOT, PlainRule, consistency_scores, track_nees
from mambats.track.pictures import draw_tracks, joined, record_tracks, scene_of
from mambats_datasets.synthetic.crossing import CrossingWorlds, StatedDetector

# MAMBATS_QUICK=1 tries every step on two short scenes.
QUICK = bool(os.environ.get("MAMBATS_QUICK"))
SCENES, SECONDS = (2, 3.0) if QUICK else (4, 10.0)
FOLDER = Path("runs/04_track")
KINDS = ("car", "pedestrian", "cyclist")
began = time.perf_counter()
torch.set_num_threads(1)  # some ten bodies give a second thread nothing to do

# %% [markdown]
# ## 1. What the sensor says
#
# `objects` gives truth and detections of a scene as `Objects`: boxes, frame behind frame. Each detection has a score
# (a logit, which is no probability) and a covariance.

# %%
detector = StatedDetector()
world = CrossingWorlds(objects=12, duration=SECONDS, detector=detector)
made = world.batch(SCENES, torch.Generator().manual_seed(3))
scenes = [made.objects(row) for row in range(SCENES)]
truth, seen = scenes[0]
bodies = len(truth.identity.unique())
print(f"{SCENES} scenes of {len(truth)} frames; the first: {bodies} bodies, {len(seen.boxes)} detections")

# %% [markdown]
# ## 2. What is a score worth?
#
# Existence is counted in log odds, so scores must be turned into log odds. The law of this detector is known; of yours
# it is not, and `ScoreCalibration.fitted` learns it from detections that are known to be true or false:
# here those that have a body within 2 m. The two should agree.


# %%
def near(truth, seen):
    """Say of each detection whether a body of its class stands within 2 m."""
    away = torch.cdist(seen.boxes[:, :3], truth.boxes[:, :3])
    possible = (seen.frames[:, None] == truth.frames) & (seen.labels[:, None] == truth.labels)
    return (away.where(possible, torch.inf) < 2.0).any(1)


known = torch.cat([near(*scene) for scene in scenes])
fitted = ScoreCalibration.fitted(torch.cat([seen.score for _, seen in scenes]), known)
stated = ScoreCalibration(2 * detector.separation, math.log(made.odds))
print(f"log odds = {fitted.slope:.2f} score {fitted.offset:+.2f} (fitted)")
print(f"log odds = {stated.slope:.2f} score {stated.offset:+.2f} (the detector's law)")

# %% [markdown]
# ## 3. A tracker is a handful of small objects
#
# Each says one thing, and each can be replaced. The density of the acceleration, m/s^1.5, is how lively a class moves:
# here that of the world, on KITTI fitted by `recipes/track_fit.py`.

# %%
LIVELY = {"car": 0.5**0.5, "pedestrian": 0.1**0.5, "cyclist": 0.3**0.5}
SPEED = {"car": 8.0, "pedestrian": 1.2, "cyclist": 4.0}  # deviation of a first velocity, m/s


def tracker_of(kind, scale=1.0):
    """Return a tracker of a class; `scale` falsifies the detections' covariances."""
    lively = LIVELY[kind]
    return Tracker(
        detector=ToldNoise(scale, fitted, least=-3.0),  # what a detection is worth: its covariance, its log odds
        predictor=Predictor(ConstantVelocity([lively, lively, 1e-3], [1e-4, 1e-4, 1e-4, 1e-2])),
        associator=SinglePass(Mahalanobis(limit=40.0, reach=8.0), Hungarian()),  # who takes which detection
        updater=Updater(Existence(seen=0.9)),  # Kalman, and how sure we are that the body exists
        initiator=Initiator([SPEED[kind], SPEED[kind], 0.1], least=-1.0),  # which detections begin a track
        deleter=Deleter(least=-3.0, silence=2.0),
        confirmer=ByExistence(least=1.0),  # which tracks are told of
    )


def followed(kind, scale=1.0):
    """Track one class through all scenes; return (truth, detections, history) of each."""
    parts = [tuple(part.of_class(kind) for part in scene) for scene in scenes]
    return [(truth, seen, tracker_of(kind, scale).run(seen)) for truth, seen in parts]


clock = time.process_time()
runs = {kind: followed(kind) for kind in KINDS}
frames = sum(len(truth) for truth, _, _ in runs["car"])
print(f"{frames} frames, three classes: {3 * frames / (time.process_time() - clock):,.0f} a second")

# %% [markdown]
# ## 4. Online, half a second late, offline
#
# `tell` turns what the tracker knew into tracks. Online it may know the past alone; with a fixed lag it may look ahead
# and so fill gaps and smooth; offline it knows everything. A figure without its mode is worth nothing.

# %%
MODES = {"online": 0.0, "fixed-lag": 0.5, "offline": math.inf}
print(f"{'':26}{'HOTA':>7}{'DetA':>7}{'AssA':>7}{'MOTA':>7}{'switches':>10}")
for kind, of_kind in runs.items():
    for mode, lag in MODES.items():
        scores = HOTA(PlainRule(kind, "centre")), ClearMOT(PlainRule(kind, "centre"))
        for truth, seen, history in of_kind:
            for score in scores:
                score.update(truth, tell(history, seen, mode, min(lag, 100.0)))
        found = {name: float(value) for score in scores for name, value in score.compute().items()}
        label = f"{kind}, {mode}" + (f" {lag:g} s" if mode == "fixed-lag" else "")
        shown = "".join(f"{found[name]:7.3f}" for name in ("HOTA", "DetA", "AssA", "MOTA"))
        print(f"{label:26}{shown}{found['IDSW']:10.0f}")

# %% [markdown]
# ## 5. Does it know how sure it is?
#
# Two tests, both chi-square of seven degrees of freedom where covariances are right. NIS needs no truth: by how much
# does a detection differ from its prediction, in units of the claimed covariance? NEES does: by how much does a track
# differ from the body? Divided by 7 both should be 1, and 95 % should lie inside the band.


# %%
def consistency(runs_of_kind):
    """Return NIS of all updates of a class."""
    return torch.cat([history.consistency().nis for _, _, history in runs_of_kind])


for kind, of_kind in runs.items():
    metric = ChiSquareMean(7)
    metric.update(consistency(of_kind))
    told = metric.compute()
    errors = torch.cat(
        [track_nees(truth, tell(history, seen), kind, threshold=0.0) for truth, seen, history in of_kind]
    )
    nees = consistency_scores(errors)
    print(
        f"{kind:12} NIS/7 {told['per_degree']:.2f}, {told['inside']:.0%} inside; "
        f"NEES/7 {nees['per_degree']:.2f}, {nees['inside']:.0%} inside (online)"
    )

# %% [markdown]
# And if the covariances were wrong? A tracker that is told a tenth of them is overconfident: it refuses about half of
# the detections that it should take (NIS ends at the gate, 40). One that is told ten times as much is timid: it takes
# as many as before and looks well, and only the test tells.

# %%
values = {
    "a tenth": consistency(followed("pedestrian", 0.1)),
    "as stated": consistency(runs["pedestrian"]),
    "ten times": consistency(followed("pedestrian", 10.0)),
}
for name, found in values.items():
    print(f"covariances {name:10} {len(found):5} updates, NIS/7 {float(found.mean()) / 7:5.2f}")
title = "Pedestrians: covariances of the detections taken as stated, and falsified (online)"
drawn = draw_chi_square({k: v.numpy() for k, v in values.items()}, 7, FOLDER / "falsified.png", title=title)
print("picture:", drawn)

# %% [markdown]
# ## 6. Pictures
#
# A `Scene` is what pictures show: `scene_of` makes one of a class, `joined` puts classes together. `draw_tracks` draws
# it from above (still and moving, with 95 % ellipses), as a time line of all tracks, and its NIS. Dashed boxes are
# tracks told without a detection.

# %%
shown = []
for of_kind in runs.values():
    _, seen, history = of_kind[0]
    tracks = tell(history, seen, "fixed-lag", 0.5)
    shown.append(scene_of(tracks, seen, "fixed-lag 0.5 s", name="crossing", history=history))
scene = joined(shown)
for path in draw_tracks(scene, FOLDER):
    print("picture:", path)

# %% [markdown]
# With `rerun-sdk` installed the same scene goes on a time line in space: open it with
# `rerun runs/04_track/crossing.rrd`.

# %%
try:
    from mambats.pictures.rerun import StreamView

    with StreamView(FOLDER / "crossing.rrd") as view:
        record_tracks(scene, view)
    print("recording:", view.to)
except ModuleNotFoundError as error:
    print(error)

# %% [markdown]
# Where to go on:
#
# - `mambats track --config recipes/track/kitti_car.yaml --detections DIR --calibration DIR --output OUT` follows
#   detections in KITTI's formats, `--pictures DIR` draws them, `mambats evaluate track` scores them. docs/tracking.md
#   has the figures.
# - `recipes/track/raw_sim.yaml` trains what finds the boxes, from points to tracks.
# - A tracker of your own is a YAML that names other parts; learned noise is one of them.

# %%
print(f"done in {time.perf_counter() - began:.0f} s")
