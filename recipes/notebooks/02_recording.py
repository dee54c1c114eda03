# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # From a raw robot log to clean, aligned windows
#
# A log has streams with clocks of their own: an IMU at 200 Hz, a second one inside a camera, GNSS at 5 Hz. One clock is
# late and drifts, some samples are spikes, some are missing. Here the log is read, looked at, mended and cut into
# tensors in under a minute, and since the robot is simulated every step can be held against the truth.
#
# You need `pip install 'mambats[train,plot,robot]'`. It runs as it is (`python 02_recording.py`) and opens as a
# notebook in Jupyter with jupytext. What it makes lies in `runs/02_recording`. Put your own bag, MCAP, EuRoC or KITTI
# folder in place of `LOG` and begin at step 2.

# %%
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mambats.data import SensorWindows, hold, match
from mambats.formats import open_any, write_mcap
from mambats.pictures import plot_recording
from mambats.preprocess import Hampel, OnStream
from mambats.preprocess.clock import ClockAlignment
from mambats_datasets import SimulatedRobots

FOLDER = Path("runs/02_recording")
FOLDER.mkdir(parents=True, exist_ok=True)
LOG = FOLDER / "drive.mcap"
MS = 1_000_000  # nanoseconds
began = time.perf_counter()
torch.set_num_threads(1)

# %% [markdown]
# ## 1. A log
#
# Two IMUs ride on the same drone: `imu` on the flight computer and, as `camera_imu`, the one inside a camera, whose
# clock is 37.3 ms late and gains 100 parts in a million. Spikes and a burst of missing samples are added by hand. All
# goes into an MCAP file as ROS 2 messages, as a recorder on the robot would write it.

# %%
robots = SimulatedRobots("drone", series=1, duration=120.0, sensors=("imu", "gnss", "barometer"), seed=3)
camera = SimulatedRobots("drone", series=1, duration=120.0, sensors=("imu",), clocks={"imu": (0.0373, 100.0)}, seed=3)
drive, late = robots.recordings()[0], camera.recordings()[0]
random = np.random.default_rng(0)
imu = drive.streams["imu"]
spiked = imu.values.copy()
spikes = random.choice(len(imu), 60, replace=False)
spiked[spikes, random.integers(0, 6, 60)] += random.choice([-30.0, 30.0], 60)
kept = np.ones(len(imu), bool)
kept[8000:8100] = False  # half a second of nothing
raw = replace(imu, stamps=imu.stamps[kept], values=spiked[kept])
write_mcap(replace(drive, streams={**drive.streams, "imu": raw, "camera_imu": late.streams["imu"]}), LOG)
print(f"{LOG}: {LOG.stat().st_size / 2**20:.1f} MiB")

# %% [markdown]
# ## 2. Look at it
#
# `open_any` knows bags, MCAP, EuRoC, KITTI, BROAD and tables by their content (so does `mambats data info PATH` on
# the command line). A picture on one time axis shows rates, gaps and spikes before they cost a day.

# %%
log = open_any(LOG)[0]
for name, stream in log.streams.items():
    step = np.diff(stream.stamps)
    print(f"{name:12} {len(stream):6} rows, {1e9 / np.median(step):6.1f} Hz, longest gap {step.max() / 1e9:.2f} s")
print(plot_recording(log, FOLDER / "raw.png"))

# %% [markdown]
# ## 3. Spikes
#
# A Hampel filter compares each sample with the median of its recent past. It is causal: the robot would run the very
# same object sample by sample, with the same numbers.

# %%
imu = log.streams["imu"]
hampel = Hampel(width=9, threshold=6.0, floor=0.05)
clean = OnStream(hampel, irregular="nominal")(imu)
changed = (np.abs(clean.values - imu.values) > 5).any(1)
truth = drive.streams["imu"].values[kept]
print(f"spikes taken out: {changed.sum()} of 60, error {np.sqrt(np.mean((imu.values - truth) ** 2)):.3f} -> "
      f"{np.sqrt(np.mean((clean.values - truth) ** 2)):.3f}")  # fmt: skip

# %% [markdown]
# The same object takes packets of seven samples as they come, its state carried from one to the next.

# %%
state, online = hampel.start(6), []
for first in range(0, 2000, 7):  # as packets would come
    out, state = hampel.transform(imu.values[first : first + 7], state)
    online.append(out)
whole = hampel(imu.values[: sum(map(len, online))])
print(f"as a stream of packets: largest difference {np.abs(np.concatenate(online) - whole).max():.1e}")

# %% [markdown]
# ## 4. Clocks
#
# Both IMUs turn with the same body, so their angular speeds tell how the clocks stand to each other, whatever way
# they are mounted. The answer comes with error bars; where the motion does not show it, it refuses.

# %%
other = log.streams["camera_imu"]
clock = ClockAlignment()(clean, other)
print(
    f"camera's clock: late by {1e3 * clock.offset:.2f} ± {1.96e3 * clock.offset_deviation:.2f} ms, "
    f"gains {1e6 * clock.drift:.1f} ± {1.96e6 * clock.drift_deviation:.1f} ppm (truth 37.3 ms, 100 ppm)"
)
other = clock.correct_stream(other)

# %% [markdown]
# ## 5. One clock
#
# `match` finds for every IMU sample the last GNSS fix before it and says how old that is; `hold` makes a stream of
# it. Nothing is interpolated from the future, and where the fix is older than a second nothing is observed.

# %%
gnss = log.streams["gnss"]
fixed = hold(gnss, clean.stamps, tolerance_ns=1000 * MS)
age = fixed.values[:, fixed.channels.index("age")]
found = match(clean.stamps, gnss.stamps)
print(f"GNSS under every IMU sample: {np.isfinite(age).mean():.1%} observed, up to {np.nanmax(age):.2f} s old")
assert (found.rows[found.found] >= 0).all()

# %% [markdown]
# ## 6. Windows
#
# Windows of a second over all streams at once, each with its own rate: values, masks, and the time since the row
# before for models that take real time. Missing rows are absent, not zero.

# %%
ready = replace(log, streams={"imu": clean, "camera_imu": other, "gnss": gnss})
print(plot_recording(ready, FOLDER / "clean.png"))
windows = SensorWindows([ready], ("imu", "camera_imu", "gnss"), 1000 * MS, stride_ns=500 * MS, period_ns=5 * MS)
batch = windows.batch(range(len(windows)))
for name, rows in batch.streams.items():
    print(
        f"{name:12} {tuple(rows.values.shape)}, {int(rows.mask.sum())} rows, longest gap {rows.gaps.max():.0f} periods"
    )
print(f"{len(windows)} windows; done in {time.perf_counter() - began:.0f} s")
