# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Forecast tomorrow's temperatures, and run the model on a stream
#
# A table goes in, a trained forecaster comes out, in less than a minute on two processor cores. On the way it is
# scored beside simple methods, and at the end it runs one row at a time, as it would beside a live sensor.
#
# You need `pip install 'mambats[train,plot,demo]'`. This file runs as it is (`python 01_forecast.py`) and opens as a
# notebook in Jupyter with jupytext. What it makes lies in `runs/01_forecast`.

# %%
import logging
import os
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import torch
from lightning import Trainer, seed_everything
from vega_datasets import local_data

from mambats.checkpoint import load_task
from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.data import Frame, WindowDataModule
from mambats.encoders import CausalEncoder
from mambats.forecast import (
    Cycle,
    Dense,
    DirectHead,
    Forecaster,
    ForecastTask,
    LinearSkip,
    Pinball,
    Report,
    forecast_ahead,
    rows_of,
)
from mambats.plots import ForecastView, draw_forecasts
from mambats.scale import RunningNorm
from mambats.task import Optimiser

# MAMBATS_QUICK=1 tries every step with next to no training: the forecasts are poor then.
STEPS = 20 if os.environ.get("MAMBATS_QUICK") else 400
FOLDER = Path("runs/01_forecast")
began = time.perf_counter()
seed_everything(0, verbose=False)
# A model this small gives a second thread nothing to do, and where the cores are busy threads wait for each other:
# one thread took 21 s of training, two 112 s on a busy machine.
torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # less talk while training
warnings.filterwarnings("ignore", module="lightning")

# %% [markdown]
# ## 1. A table
#
# Hourly temperatures of two cities over one year, in °F. Any polars or pandas frame with a time column will do: one
# column a series as here, or the long form with `unique_id`, `ds` and `y`.

# %%
seattle = pl.read_csv(local_data.seattle_temps.filepath)
san_francisco = pl.read_csv(local_data.sf_temps.filepath)
frame = seattle.select("date", seattle="temp").with_columns(san_francisco=san_francisco["temp"])  # the same hours
print(frame.tail(3))

# %% [markdown]
# ## 2. Windows
#
# The model learns from windows: it reads a week (168 hours) and forecasts a day (24 hours). The first 70 % of the
# year are for training, the last 20 % for the test. Values are scaled by the training part alone. `frequency="1h"`
# lays the rows on an hourly grid: the hour that is missing in March becomes an hour without a value.

# %%
data = WindowDataModule(Frame(frame, "temperature", frequency="1h"), lookback=168, horizon=24, batch_size=8)

# %% [markdown]
# ## 3. A model
#
# A forecaster is put together from parts:
#
# - `CausalEncoder` is the state-space (Mamba) network. It reads one channel; both cities share its weights.
# - `DirectHead` gives all 24 hours at once, each as three quantiles: 90 % of the truth should lie between the outer
#   two.
# - `RunningNorm` centres and scales by the recent past: after `half_life` rows a row counts half. It needs no fixed
#   window, so the model can run on a stream. At the very start it leans on the whole training part, as if it had seen
#   `weight` rows of it. Both are short against the 168 rows of a window, so that a long run looks to the model like
#   what it was trained on.
# - `LinearSkip` adds a linear map of the last four days to the forecast; the network learns the rest.
# - `Cycle` takes the usual course of a day out before the model and puts it back after.

# %%
QUANTILES = (0.05, 0.5, 0.95)
model = Forecaster(
    encoder=CausalEncoder(channels=1, width=16, layers=1, final_norm=False),
    head=DirectHead(width=16, horizon=24, quantiles=QUANTILES),
    norm=RunningNorm(half_life=24, weight=24),
    skip=LinearSkip(lookback=96, horizon=24),
    cycle=Cycle(),
)

# %% [markdown]
# ## 4. Training
#
# `ForecastTask` joins the model with what training needs: the loss, the optimiser, and `Dense`, which asks for
# forecasts from 64 rows of each window at once. It is a Lightning module, so Lightning's `Trainer` does the rest.
# `Report` will score the test, and `SafeCheckpointIO` keeps the model with a checksum beside it.

# %%
task = ForecastTask(model, Pinball(QUANTILES), Optimiser(lr=1e-2, warmup=0.1), Dense(rows=64, warm=95))
trainer = Trainer(
    accelerator="cpu",
    max_steps=STEPS,
    gradient_clip_val=1.0,
    callbacks=[Report("mamba", FOLDER, season=24, ridge_lookback=96)],
    plugins=[SafeCheckpointIO()],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
start = time.perf_counter()
trainer.fit(task, data)
print(f"trained {STEPS} steps in {time.perf_counter() - start:.0f} s")

# %% [markdown]
# ## 5. The score
#
# Every hour of the test part is a start. The model meets them as one stream. Beside it stand methods that anyone can
# write: yesterday's course once more (`seasonal_naive`), the last value, and ridge regression on the last 96 hours,
# also after the usual day was taken out (`ridge_cycle`). Lower is better. Errors are in scaled units; `mase` is 1 for
# an error as large as that of yesterday's course in the training part. These temperatures are smooth, so even
# yesterday's course comes close.
#
# `coverage_90` is the share of the truth inside the 90 % interval, so it should be near 0.9. It is lower here: the
# model was trained up to mid-September and is tested from 20 October on, a season that it never saw.

# %%
trainer.test(task, data, verbose=False)

# %% [markdown]
# ## 6. The next 24 hours
#
# The forecast of what comes after the last row of the table, in the units of the table. It is a dictionary of
# columns, so it goes into a polars or pandas frame.

# %%
ahead = pl.DataFrame(forecast_ahead(task, data))
fahrenheit = pl.col("forecast").cast(pl.Float64)
celsius = (fahrenheit - 32) / 1.8
every_six_hours = ahead.filter(pl.col("step") % 6 == 0)
print(every_six_hours.select("ds", "channel", fahrenheit.round(1).alias("°F"), celsius.round(1).alias("°C")))

# %% [markdown]
# ## 7. A picture
#
# The last two days, then the forecast with its 90 % interval.

# %%
SHOWN = 48
views = []
for city in ("seattle", "san_francisco"):
    forecast = ahead.filter(pl.col("channel") == city)
    views.append(
        ForecastView(
            channel=city,
            truth=np.append(frame[city].tail(SHOWN), np.full(24, np.nan)),
            forecast=forecast["forecast"].to_numpy(),
            bands={0.9: (forecast["q0.05"].to_numpy(), forecast["q0.95"].to_numpy())},
            unit="°F",
            stamps=np.append(data.panel.stamps[-SHOWN:], forecast["ds"].to_physical()),
        )
    )
print("picture:", draw_forecasts(views, FOLDER / "ahead.png", title="the next 24 hours"))

# %% [markdown]
# ## 8. One row at a time
#
# So far the model read whole windows at once. Beside a sensor there is one row at a time: `step` takes it together
# with what the model remembers (`state`), and gives a forecast and the new state. No window is kept and nothing is
# computed twice. The numbers are the same as those of the parallel pass (`roll`), which is how the model was trained.

# %%
stretch = data.windows("test", lookback=500)[np.array([0])]  # 500 hours of the test part, scaled
rows = rows_of(stretch)
with torch.no_grad():
    parallel, _ = model.eval().roll(rows, model.init_state(batch=1, channels=2))
    state, forecasts = model.init_state(batch=1, channels=2), []
    start = time.perf_counter()
    for i in range(500):
        forecast, state = model.step(rows.part(i, i + 1), state)
        forecasts.append(forecast)
    each = (time.perf_counter() - start) / 500
stepped = torch.stack(forecasts, dim=1)
difference = float((stepped - parallel).abs().max() / parallel.abs().max())
print(f"500 rows one at a time, {1000 * each:.1f} ms each")
print(f"largest difference from the parallel pass: {difference:.1e} of the largest value (at most 1e-05)")

# %% [markdown]
# The two agree to rounding. What was trained on windows is what runs beside the sensor.
#
# ## 9. Keep it
#
# The file holds the tensors, the recipe of the model and the scaling, so it needs nothing of this notebook. The sum
# beside it is checked before the file is used.

# %%
trainer.save_checkpoint(FOLDER / "model.ckpt")
kept = load_task(FOLDER / "model.ckpt")
same = pl.DataFrame(forecast_ahead(kept, data)).equals(ahead)
print(f"kept in {FOLDER / 'model.ckpt'}, loaded again, the same forecast: {same}")

# %% [markdown]
# Where to go on:
#
# - `mambats stream --checkpoint runs/01_forecast/model.ckpt --input rows.csv` writes a forecast after each row of a
#   file, or of standard input (`--input -`). The columns are those of the table.
# - `mambats fit --config recipes/forecast/table.yaml --data.source.init_args.path FILE` trains on a file of yours.
# - `mambats demo` does from a recipe what was done here, with checkpoints and an experiment log.

# %%
print(f"done in {time.perf_counter() - began:.0f} s")
