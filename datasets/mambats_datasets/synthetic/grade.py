"""Inertial units by grade: numbers with their sources."""

from __future__ import annotations

import math

from mambats_datasets.synthetic.imu import Imu, Triad
from mambats_datasets.synthetic.motion import GRAVITY

DEGREE = math.radians(1)
HOUR = 3600.0

IDEAL = Imu()
"""No errors at all."""

CONSUMER = Imu(
    gyro=Triad(
        noise=1.6968e-4,
        walk=1.9393e-5,
        bias=0.5 * DEGREE,
        instability=14.5 * DEGREE / HOUR,
        scale=0.01,
        misalignment=0.001,
        limit=1000 * DEGREE,
        step=0.04 * DEGREE,
    ),
    accel=Triad(
        noise=2.0e-3,
        walk=3.0e-3,
        bias=20e-3 * GRAVITY,
        instability=0.25e-3 * GRAVITY,
        scale=0.005,
        misalignment=0.0035,
        limit=18 * GRAVITY,
        step=0.833e-3 * GRAVITY,
    ),
    g_sensitivity=0.015 * DEGREE / GRAVITY,
)
"""A MEMS unit as drones and phones carry.

Source: noise and walk as EuRoC publishes them for its ADIS16448 (`imu0/sensor.yaml`: Burri et al., The EuRoC micro
aerial vehicle datasets, IJRR 2016; the accelerometer's walk is known to be generous); turn-on biases as the RotorS
simulator takes for that unit (Furrer et al., RotorS, 2016); instability, range, resolution and g-sensitivity of the
size its data sheet gives; scale and misalignment are round numbers of its size.
"""

TACTICAL = Imu(
    gyro=Triad(
        noise=0.15 * DEGREE / HOUR**0.5,
        bias=10 * DEGREE / HOUR,
        instability=0.5 * DEGREE / HOUR,
        scale=500e-6,
        misalignment=1e-3,
        limit=400 * DEGREE,
    ),
    accel=Triad(
        noise=0.06 / HOUR**0.5,
        bias=0.75e-3 * GRAVITY,
        instability=0.05e-3 * GRAVITY,
        scale=300e-6,
        misalignment=1e-3,
        limit=10 * GRAVITY,
    ),
    g_sensitivity=1 * DEGREE / HOUR / GRAVITY,
)
"""A tactical-grade MEMS unit.

Source: data sheet of the STIM300 (Safran Sensonor TS1524) as the NavToolkit's `stim300_model` lists it: angular random
walk 0.15 deg/sqrt(h), velocity random walk 0.06 m/s/sqrt(h), bias instability 0.5 deg/h and 0.05 mg, scale 500 and
300 ppm, misalignment 1 mrad, on-off bias 0.75 mg, 1 deg/h/g. The gyroscope's turn-on bias is its drift under changing
temperature (10 deg/h); the sheet names no random walk of the bias, so there is none.
"""

GRADES = {"ideal": IDEAL, "consumer": CONSUMER, "tactical": TACTICAL}
