# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Where is the robot? Fusion, sensor by sensor
#
# A wheeled robot has an inertial unit at 200 Hz, wheels at 50 Hz and satellite fixes at 5 Hz. Each alone loses the
# robot in a way of its own. A filter joins them and says how sure it is; a bank of four filters survives a sensor
# that dies; and a network learns which of the four to believe. All of it runs row by row on the robot.
#
# You need `pip install 'mambats[train,plot,robot]'`. This file runs as it is (`python 03_fusion.py`) in less than a
# minute on one core, and opens as a notebook in Jupyter with jupytext. The robot is simulated, so nothing is
# downloaded and every estimate can be held against the truth. What it makes lies in `runs/03_fusion`.

# %%
import logging
import os
import time
import warnings
from pathlib import Path

import torch
from lightning import Trainer, seed_everything

from mambats.checkpoint import load_task
from mambats.data.sensor_module import SensorDataModule
from mambats.encoders.fusion import StreamFusion
from mambats.odometry import Fault, FilterBank, Navigator, OdometryTask, degradation
from mambats.odometry.bank import at_moments, ready, unit_of_wheels
from mambats.odometry.contest import FILTERS, held_fixes
from mambats.odometry.degrade import side_by_side
from mambats.odometry.mixture import to_world
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.online import NavigatorRun
from mambats.odometry.robot import START
from mambats.odometry.score import rms, scores
from mambats.odometry.start import drawn_start
from mambats.pictures.reliability import draw_reliability
from mambats.pictures.trajectory import Track, draw_degradation, draw_errors, draw_trajectory
from mambats.task import Optimiser
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

# MAMBATS_QUICK=1 tries every step on short drives with next to no training: the numbers are poor then.
QUICK = bool(os.environ.get("MAMBATS_QUICK"))
SECONDS, LESSON, LESSONS, EPOCHS = (2.0, 1.0, 8, 1) if QUICK else (20.0, 10.0, 48, 12)
DEMO = Path("runs/fusion-demo/checkpoints/best.ckpt")
FOLDER = Path("runs/03_fusion")
began = time.perf_counter()
seed_everything(0, verbose=False)
torch.set_num_threads(1)  # small batches give a second thread nothing to do
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # less talk while training
warnings.filterwarnings("ignore", module="lightning")

# %% [markdown]
# ## 1. Four drives
#
# `drives` is a batch of windows: of each stream its values, a mask, and stamps in nanoseconds, every sensor on its own
# clock. `truth` is what the simulator knows. Nobody knows exactly where a run starts: `drawn_start` puts the robot
# down 0.3 m and 3 degrees off (standard deviations), and everyone below starts from there.

# %%
drives = robot_windows(SimulatedRobots("robot", duration=SECONDS), 4, torch.Generator().manual_seed(7))
start = drawn_start(drives, START, torch.Generator().manual_seed(0))
for name, stream in drives.streams.items():
    print(f"{name:6} {int(stream.mask[0].sum()):5} rows of {stream.values.shape[-1]} numbers")
bank = FilterBank()
rows = ready(drives, bank.tick_ns)  # the streams, and ten moments a second (`query`) at which the filter is asked
ticks = rows["query"].stamps
truth = truth_at(drives.truth, ticks)

# %% [markdown]
# ## 2. The inertial unit alone
#
# Rates are summed up to an attitude, accelerations twice to a position. A bias of the accelerometer so grows with the
# square of time, and an attitude that is off by a degree lets gravity do the same: seconds, then it is lost. The
# filter knows: its own deviation grows alike.


# %%
def filtered(filter_, **streams):
    """Run a filter over some of the streams; return its estimates at the ticks."""
    given = {**streams, "query": rows["query"]}
    track, _ = filter_.run(given, drives.length_ns, filter_.aligned(*start[:3], START))
    return Navigation(*at_moments(track, ticks))


def told(name, estimate):
    """Print how far off an estimate is and how honest about it."""
    score = scores(estimate.error(truth), estimate.covariance)
    print(
        f"{name:24} position {score['position']:8.2f} m, at the end {score['final']:8.2f} m, "
        f"NEES {score['nees_position']:5.2f}, inside 95 %: {score['coverage_95']:4.0%}"
    )


inertial = filtered(bank.inertial, imu=rows["imu"])
told("inertial unit alone", inertial)

# %% [markdown]
# ## 3. The wheels alone, the satellites alone
#
# Wheels tell speed and rate of turn: a good path, but turned by the heading error of the start, and they slip. Fixes
# do not drift; they are some metres off, all in the same direction for a while, and say nothing of the heading.

# %%
wheels = filtered(
    bank.wheeled,
    imu=unit_of_wheels(rows["wheel"], bank.wheeled.gravity),  # what the wheels say, as an inertial unit would say it
    wheel=rows["wheel"],
    rolling=rows["rolling"],  # a wheel rolls along, not sideways
)
told("wheels alone", wheels)
fixes = held_fixes(rows["gnss"], ticks)
miss = truth.position - fixes
print(f"{'satellites alone':24} position {rms(miss[miss.isfinite().all(-1)]):8.2f} m")

# %% [markdown]
# ## 4. The filter that joins them
#
# The error-state filter carries attitude, velocity, position, the biases of the inertial unit, the scale of the wheels
# and the slow error of the receiver, with one covariance over all of them. Each measurement corrects what it can see.
#
# Being sure is a claim that can be tested. NEES is the squared error in units of the claimed covariance: 1 (per number)
# is honest, more is overconfident, less is timid. And 95 % of the truth should lie inside the 95 % interval.

# %%
sensors = {name: rows[name] for name in ("imu", "gnss", "wheel", "rolling")}
fused = filtered(bank.inertial, **sensors)
told("filter of all three", fused)

# %% [markdown]
# A picture of the first drive: from above with the 95 % ellipses of the filter, and the errors over time.


# %%
def track_of(estimate, which=0):
    """Return one drive's positions and their covariances, for a picture."""
    return Track(estimate.position[which].numpy(), estimate.covariance[which, :, 6:, 6:].double().numpy())


def error_of(estimate, of, which=0):
    """Return the distance to the truth on the floor and the claimed 95 % radius, over time."""
    variance = estimate.covariance[which, :, (6, 7), (6, 7)].double().mean(-1)
    away = (estimate.position - of.position)[which, :, :2].norm(dim=-1)
    return away.numpy(), (5.991 * variance).sqrt().numpy()


def draw_pair(estimates, window, of, name):
    """Draw estimates of a window's first drive: from above, and the errors of the first two."""
    seen = window.streams["gnss"]
    seen = seen.values[0][seen.mask[0]].double().numpy()
    shown = {label: track_of(one) for label, one in estimates.items()}
    print("picture:", draw_trajectory(of.position[0].numpy(), shown, seen, FOLDER / f"{name}.png"))
    pairs = {label: error_of(one, of) for label, one in [*estimates.items()][:2]}
    errors, radii = ({label: pair[k] for label, pair in pairs.items()} for k in (0, 1))
    seconds = ticks[0].double().numpy() * 1e-9
    print("picture:", draw_errors(seconds, errors, radii, FOLDER / f"{name}_errors.png"))


draw_pair({"filter": fused, "wheels alone": wheels, "inertial unit alone": inertial}, drives, truth, "sound")

# %% [markdown]
# ## 5. A sensor dies, sticks, comes late
#
# A `Fault` changes a window as a broken sensor would. Four of them on the first drive, side by side as one batch. A
# stream that is off costs what it knew, and the covariance says so. Late fixes hardly matter. But an inertial unit
# that repeats its last reading is believed, and the filter goes with it: no gate helps against a liar that moves the
# state itself.

# %%
FAULTS = [
    Fault("off", "gnss"),
    Fault("delayed", "gnss", 0.1),
    Fault("off", "wheel"),
    Fault("stuck", "imu", begin=1 / 3),
]
first = drives.take([0])
broken = {fault.label: fault(first, torch.Generator().manual_seed(1)) for fault in FAULTS}
together = side_by_side(list(broken.values()))
begin = Navigation(*(part[:1].repeat(len(FAULTS), *[1] * (part.ndim - 1)) for part in start))
each, _ = bank.run(ready(together, bank.tick_ns), together.length_ns, bank.begin(begin, START))
for number, fault in enumerate(broken):
    off = (each.position[number] - truth.position[0][:, None]).norm(dim=-1).square().mean(0).sqrt()
    print(f"{fault:18}" + "".join(f"{name:>22} {far:6.2f} m" for name, far in zip(FILTERS.values(), off, strict=True)))

# %% [markdown]
# ## 6. Four filters, and a network that weighs them
#
# `FilterBank` ran four filters in that cell, each blind to one sensor but the first. In every row one of them is
# fine: the one that has not seen the liar. Which one? That is learned. A `Navigator` is the bank, a fusion encoder
# that watches sensors and filters, and a head that weighs the filters, shifts their mean and reshapes the covariance.
# Freshly made it leans on the first filter (`trust`); `gain` makes the weights move fast in a short training.
#
# If `mambats demo` ran in this folder its model is taken. Else a small one is trained here: the filters run once over
# drives on which a sensor is broken at random, then only the network is trained.

# %%
if DEMO.is_file() and not QUICK:
    model, came = load_task(DEMO).model.eval(), f"loaded from {DEMO}"
else:
    source = SimulatedRobots("robot", series=LESSONS, duration=LESSON + 0.3, seed=5)
    data = SensorDataModule(source, ["imu", "gnss", "wheel"], length=LESSON, batch_size=8)
    encoder = StreamFusion(Navigator.channels(), width=16, layers=1, period_ns=bank.tick_ns)
    model = Navigator(encoder, bank, trust=2.0, gain=5.0)
    task = OdometryTask(model, optimiser=Optimiser(lr=1e-2, warmup=0.1), every=2)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    clock = time.perf_counter()
    trainer.fit(task, data)
    model, came = task.model.eval(), f"trained on {LESSONS} drives in {time.perf_counter() - clock:.0f} s"
print(f"navigator {came}")

# %% [markdown]
# ## 7. Whom it believes while a sensor is stuck
#
# The inertial unit of the first drive repeats one reading from a third of the drive on. The weights are those of the
# filters in the position; rotation and velocity have weights of their own. A second picture shows how much the
# encoder's stream of questions listens to each of the others (`reliability`).

# %%
stuck = broken["imu stuck"]
with torch.no_grad():
    prepared, members, _ = model.prepare(stuck, model.init_state(Navigation(*(part[:1] for part in start))))
    token, _ = model.believe(prepared.rows, prepared.length_ns)
    belief = model.head(token, prepared.found.there)
    answer = to_world(prepared.found, *model.answer(token, prepared.found))
    heard = model.encoder.reliability(prepared.rows, prepared.length_ns)["state"]
stamps = ticks[0].numpy()
weights = belief.weights[0, :, -1].double().numpy()  # (T, filters)
title = f"Inertial unit stuck from {SECONDS / 3:.0f} s on"
print("picture:", draw_reliability(weights, stamps, [*FILTERS.values()], FOLDER / "weights.png", title=title))
measured = {name: one.stamps[0][one.mask[0]].numpy() for name, one in prepared.rows.items()}
streams = list(model.encoder.streams)
drawn = draw_reliability(heard[0].double().numpy(), stamps, streams, FOLDER / "heard.png", measured=measured)
print("picture:", drawn)
sound, late = weights[: len(weights) // 3, 3].mean(), weights[len(weights) // 2 :, 3].mean()
print(f"weight of the filter without inertial unit: {sound:.2f} before, {late:.2f} after")
alone = Navigation(*(part[:, :, 0] for part in members))
draw_pair({"navigator": answer, "filter": alone}, stuck, truth, "stuck")

# %% [markdown]
# ## 8. One row at a time
#
# On the robot rows come as they are measured. `NavigatorRun` takes them one by one and answers at every tick; the
# numbers are those of the pass over the whole window.

# %%
run = NavigatorRun(model, Navigation(*(part[0] for part in start)))
known = [
    (int(stamp), name, values.tolist())
    for name, stream in stuck.streams.items()
    for stamp, values in zip(stream.stamps[0][stream.mask[0]], stream.values[0][stream.mask[0]], strict=True)
    if stamp < min(SECONDS / 2, 2.0) * 1e9
]
clock, answers = time.perf_counter(), []
for stamp, name, values in sorted(known):
    answers += run.feed(name, stamp, values)
took = time.perf_counter() - clock
stepped = torch.stack([one.estimate.position for one in answers])
difference = float((stepped - answer.position[0, : len(answers)]).abs().max())
print(f"{len(known)} rows one at a time, {len(answers)} answers, {1000 * took / len(answers):.0f} ms each")
print(f"largest difference from the pass over the window: {difference:.1e} m (at most 1e-03)")

# %% [markdown]
# ## 9. What each fault costs
#
# The same on all four drives: `degradation` breaks one sensor at a time and scores the navigator beside the four
# filters; a star marks the best. `mambats degrade --checkpoint FILE` prints it for every standard fault.

# %%
CHOSEN = [Fault("off", "imu"), FAULTS[3], FAULTS[0], FAULTS[2], Fault("stuck", "wheel", begin=1 / 3)]
table = degradation(model, drives, faults=CHOSEN)
print(table.text())
print("picture:", draw_degradation(table.positions(), FOLDER / "degradation.png"))

# %% [markdown]
# Where to go on:
#
# - `mambats demo fusion` trains on more and longer drives, with checkpoints and an experiment log.
# - `mambats fit --config recipes/fusion/odometry_sim.yaml` is the full length, for a GPU; docs/fusion.md has its
#   figures, also those where the filter wins.
# - Another kind of fusion is another class: `EventFusion`, `EstimateFusion`, `ConcatenationFusion`.

# %%
print(f"done in {time.perf_counter() - began:.0f} s")
