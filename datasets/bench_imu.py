"""How good and how fast is the inertial part? Attitude on BROAD, clocks on EuRoC and simulated, sums of samples.

    python datasets/bench_imu.py [attitude clock preintegration calibration] [--data $MAMBATS_DATA]

`attitude`: root mean square over the moving phases, degrees, less the constant heading of the first row;
total, heading and inclination as BROAD defines them (Laidig et al. 2021). Every row is online: each attitude comes
from the past alone. One setting for both trials, the published defaults for ours and vqf, none tuned here.
`clock`: a copy of the EuRoC IMU at another rate with an injected offset and drift, against the ground truth's
quaternions and against the IMU itself; a simulated pair; how often the true value lies within 1.96 deviations.
`preintegration`: samples a second, forward without gradients, with covariance and bias Jacobians and without.
`calibration`: a simulated tumble, calibrated on its first half and judged on its second.
Rates are the best of several by processor time, which a busy machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mambats.series import Recording, Stream

RATES = ("wx", "wy", "wz")
SEEDS = 12


def best(call: Callable[[], object], times: int = 3) -> float:
    """Least seconds: of the processor on one thread, of the clock on several."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken = []
    for _ in range(times):
        start = clock()
        call()
        taken.append(clock() - start)
    return min(taken)


def scores(quaternions: np.ndarray, held: Recording) -> np.ndarray:
    """Total, heading and inclination error in degrees of quaternions (T, 4), x y z w, sensor to world."""
    pose = held.truth["pose"]
    seen = np.isfinite(pose.values).all(1) if pose.observed is None else pose.observed.all(1)
    moving = held.truth["movement"].values[seen, 0].astype(bool)
    error = Rotation.from_quat(quaternions[seen]) * Rotation.from_quat(pose.values[seen, 3:]).inv()
    z, w = error.as_quat().T[2:]
    heading = 2 * np.arctan2(z, w)
    z, w = (Rotation.from_rotvec([0, 0, -heading[0]]) * error).as_quat().T[2:]
    errors = (
        2 * np.arccos(np.clip(np.abs(w), 0, 1)),
        2 * np.arctan(np.abs(z / w)),
        2 * np.arccos(np.clip(np.hypot(z, w), 0, 1)),
    )
    return np.degrees([np.sqrt(np.mean(np.square(one[moving]))) for one in errors])


def attitude_ours(held: Recording) -> tuple[np.ndarray, float]:
    from mambats.estimators import Attitude

    values = torch.tensor(held.streams["imu"].values)[None]
    method = Attitude(float(held.static["rate"]))  # type: ignore[arg-type]
    with torch.no_grad():
        made = method(values[..., :3], values[..., 3:]).quaternion[0].numpy()
        many = values[:, :2000].expand(256, -1, -1)
        taken = best(lambda: method(many[..., :3], many[..., 3:]))
    return made, many.shape[0] * many.shape[1] / taken


def attitude_ours_alone(held: Recording) -> tuple[np.ndarray, float]:
    from mambats.estimators import Attitude

    values = torch.tensor(held.streams["imu"].values)[None]
    method = Attitude(float(held.static["rate"]))  # type: ignore[arg-type]
    with torch.no_grad():
        made = method(values[..., :3], values[..., 3:]).quaternion[0].numpy()
        taken = best(lambda: method(values[:, :6000, :3], values[:, :6000, 3:]))
    return made, 6000 / taken


def attitude_ours_step(held: Recording) -> tuple[np.ndarray, float]:
    from mambats.estimators import Attitude

    values = torch.tensor(held.streams["imu"].values)[None]
    method, made = Attitude(float(held.static["rate"])), []  # type: ignore[arg-type]
    with torch.no_grad():
        whole = method(values[..., :3], values[..., 3:]).quaternion[0].numpy()
        state, rows = method.start(1), 1500
        start = time.process_time()
        for row in values[:, :rows].unbind(1):
            one, state = method.step(row[:, :3], row[:, 3:], state)
            made.append(one.quaternion[0].numpy())
        taken = time.process_time() - start
    print(f"    step against batch over {rows} rows: {np.abs(np.array(made) - whole[:rows]).max():.1e}")
    return whole, rows / taken


def attitude_vqf(held: Recording) -> tuple[np.ndarray, float]:
    import vqf

    values = held.streams["imu"].values
    parts = [np.ascontiguousarray(part) for part in (values[:, :3], values[:, 3:])]
    period = 1 / float(held.static["rate"])  # type: ignore[arg-type]
    made = vqf.VQF(period).updateBatch(*parts)["quat6D"][:, [1, 2, 3, 0]]
    return made, len(values) / best(lambda: vqf.VQF(period).updateBatch(*parts))


def attitude_madgwick(held: Recording) -> tuple[np.ndarray, float]:
    from ahrs.filters import Madgwick

    values, rate = held.streams["imu"].values, float(held.static["rate"])  # type: ignore[arg-type]
    start = time.process_time()
    made = Madgwick(gyr=values[:, :3], acc=values[:, 3:], frequency=rate, gain=0.1).Q
    return made[:, [1, 2, 3, 0]], len(values) / (time.process_time() - start)


def attitude_imufusion(held: Recording) -> tuple[np.ndarray, float]:
    import imufusion

    values, rate = held.streams["imu"].values, float(held.static["rate"])  # type: ignore[arg-type]
    method = imufusion.Ahrs()
    settings = imufusion.AhrsSettings()
    settings.sample_rate = rate
    method.set_settings(settings)
    gyro, force = np.degrees(values[:, :3]), values[:, 3:] / 9.81
    made = np.zeros((len(values), 4))
    start = time.process_time()
    for row in range(len(values)):
        method.update_no_magnetometer(gyro[row], force[row])
        made[row] = method.get_quaternion()
    return made[:, [1, 2, 3, 0]], len(values) / (time.process_time() - start)


METHODS = {
    "mambats Attitude, 256 at once": attitude_ours,
    "mambats Attitude, one recording": attitude_ours_alone,
    "mambats Attitude, step by step": attitude_ours_step,
    "vqf (C++), defaults": attitude_vqf,
    "Madgwick (ahrs), gain 0.1": attitude_madgwick,
    "imufusion (C), defaults": attitude_imufusion,
}


def attitude(data: Path) -> None:
    from mambats.formats import read_broad

    for file in sorted((data / "fusion" / "broad").glob("*.mat")):
        held = read_broad(file)
        print(f"\n{file.stem}: total / heading / inclination RMSE [degrees], online, 6-axis | updates/s")
        for name, method in METHODS.items():
            made, rate = method(held)
            print(f"  {name:34} {' / '.join(f'{one:7.4f}' for one in scores(made, held))} | {rate:12,.0f}")


def injected(imu: Stream, offset: float, drift: float, rate: float) -> Stream:
    """The rates of an IMU at another rate, on a clock that is late and fast."""
    seconds = (imu.stamps - imu.stamps[0]) * 1e-9
    moments = np.arange(0.2, seconds[-1] - 0.2, 1 / rate)
    values = np.stack([np.interp(moments, seconds, column) for column in imu.values[:, :3].T], 1)
    late = moments * (1 + drift) + offset
    return Stream(imu.stamps[0] + np.rint(late * 1e9).astype(np.int64), values, RATES)


def simulated(seed: int, offset: float, drift: float) -> tuple[Stream, Stream]:
    """Two IMUs on one drone, 120 s at 200 and 130 Hz, with noise and biases of small MEMS sensors."""
    from mambats_datasets.synthetic.clock import Timing
    from mambats_datasets.synthetic.flight import Flight
    from mambats_datasets.synthetic.imu import Imu, Triad

    generator = torch.Generator().manual_seed(seed)
    path = Flight.random(1, 120.0, generator)
    gyro = Triad(noise=1.7e-4, walk=2e-5, bias=0.02, scale=0.005, misalignment=0.005)
    made = []
    for timing in (Timing(200.0, jitter=1e-4), Timing(130.0, jitter=2e-4, offset=offset, drift=drift * 1e6)):
        reading = Imu(gyro=gyro, timing=timing).read(path, generator)
        stamps = np.rint(reading.ticks.stamp[0].numpy() * 1e9).astype(np.int64)
        made.append(Stream(stamps, reading.values[0, :, :3].numpy(), RATES))
    return made[0], made[1]


def report(name: str, rows: list[tuple[float, float, float, float]]) -> None:
    """Print errors of offsets [s] and drifts beside their deviations."""
    table = np.abs(np.array(rows))
    inside = [np.mean(table[:, k] <= 1.96 * table[:, k + 1]) for k in (0, 2)]
    print(
        f"  {name:38} {len(rows):3} runs: offset error {1e3 * np.sqrt(np.mean(table[:, 0] ** 2)):.4f} rms, "
        f"{1e3 * table[:, 0].max():.4f} worst, {1e3 * table[:, 1].mean():.4f} said [ms], {inside[0]:.0%} inside; drift "
        f"{1e6 * np.sqrt(np.mean(table[:, 2] ** 2)):.3f} rms, {1e6 * table[:, 2].max():.3f} worst, "
        f"{1e6 * table[:, 3].mean():.3f} said [ppm], {inside[1]:.0%} inside"
    )


def clock(data: Path) -> None:
    from mambats.formats import read_euroc
    from mambats.preprocess import ClockAlignment

    align = ClockAlignment()
    held = read_euroc(data / "fusion" / "euroc" / "MH_01_easy")
    imu, pose = held.streams["imu"], held.truth["pose"]
    fit = align(pose, imu)
    print(
        f"\nEuRoC MH_01 as it is: the IMU is {fit.offset * 1e3:.4f} +- {fit.offset_deviation * 1e3:.4f} ms late, ",
        end="",
    )
    print(f"drift {fit.drift * 1e6:.3f} +- {fit.drift_deviation * 1e6:.3f} ppm, windows {fit.windows}")
    cases = [(0.0373, 1e-4, rate) for rate in (170.0, 93.0, 333.0)]
    draw = np.random.default_rng(0)
    cases += [(draw.uniform(-0.2, 0.2), draw.uniform(-2e-4, 2e-4), draw.uniform(80, 300)) for _ in range(SEEDS - 3)]
    for name, reference in (("EuRoC, IMU copy against ground truth", pose), ("EuRoC, IMU copy against the IMU", imu)):
        rows = []
        for offset, drift, rate in cases:
            late = align(reference, injected(imu, offset, drift, rate)).at(int(imu.stamps[0]) + round(offset * 1e9))
            rows.append((late.offset - offset, late.offset_deviation, late.drift - drift, late.drift_deviation))
        report(name, rows)
        report(f"{name}, 37.3 ms 100 ppm", rows[:3])
    rows = []
    for seed in range(SEEDS):
        offset, drift = (0.0373, 1e-4) if seed < 3 else (draw.uniform(-0.2, 0.2), draw.uniform(-2e-4, 2e-4))
        late = align(*simulated(seed, offset, drift)).at(round(offset * 1e9))
        rows.append((late.offset - offset, late.offset_deviation, late.drift - drift, late.drift_deviation))
    report("simulated drone, two IMUs, 120 s", rows)


def preintegration(data: Path) -> None:
    from mambats.preprocess.imu import Preintegration

    print(f"\npreintegration, forward: M samples/s, {torch.get_num_threads()} thread(s)")
    for dtype in (torch.float32, torch.float64):
        for batch, length in ((1, 10_000), (64, 200), (1024, 100), (4096, 100), (1024, 400)):
            gyro, force = torch.randn(2, batch, length, 3, dtype=dtype)
            dt, rates = torch.full((batch, length), 0.005, dtype=dtype), list[float]()
            for errors in (True, False):
                method = Preintegration(errors=errors)
                with torch.no_grad():
                    taken = best(lambda m=method, g=gyro, f=force, d=dt: m(g, f, d), 8)
                rates.append(batch * length / taken / 1e6)
            print(
                f"  {dtype} B {batch:5} T {length:6}: {rates[0]:6.2f} with covariance and bias Jacobians, "
                f"{rates[1]:6.2f} motion alone"
            )


def calibration(data: Path) -> None:
    from mambats.preprocess.imu import ImuCalibration
    from mambats_datasets.synthetic.clock import Timing
    from mambats_datasets.synthetic.imu import Imu, Triad
    from mambats_datasets.synthetic.tumble import Tumble

    generator = torch.Generator().manual_seed(0)
    path = Tumble.random(1, 330.0, generator)
    gyro = Triad(noise=1.7e-4, bias=0.02, scale=0.01, misalignment=0.01)
    force = Triad(noise=2e-3, bias=0.1, scale=0.01, misalignment=0.01)
    reading = Imu(gyro=gyro, accel=force, timing=Timing(200.0)).read(path, generator)
    stamps, values = np.rint(reading.ticks.stamp[0].numpy() * 1e9).astype(np.int64), reading.values[0].numpy()
    half, names = len(values) // 2, (*RATES, "ax", "ay", "az")
    gravity = float(np.median(np.linalg.norm(path(reading.ticks.time).specific_force((0.0, 0.0, 0.0))[0], axis=1)))
    fit = ImuCalibration(gravity)(Stream(stamps[:half], values[:half], names))
    rest = ImuCalibration(gravity).detector(values[half:], 200.0)
    print(f"\ncalibration from {len(fit.poses)} poses, judged on {len(rest)} others: raw -> corrected")
    for name, rows in (("raw", values[half:]), ("corrected", fit.intrinsics(values[half:]))):
        off = [np.linalg.norm(rows[part, 3:].mean(0)) - gravity for part in rest]
        drift = [np.linalg.norm(rows[part, :3].mean(0)) for part in rest]
        print(
            f"  {name:10} |force| - gravity {np.sqrt(np.mean(np.square(off))):.5f} m/s^2 rms, rate at rest "
            f"{np.sqrt(np.mean(np.square(drift))):.6f} rad/s rms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {part.__name__: part for part in (attitude, clock, preintegration, calibration)}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="which; all if none is named")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MAMBATS_DATA", ".data")))
    parser.add_argument("--threads", type=int, default=1, help="of torch for preintegration")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.parts or parts:
        parts[name](options.data)


if __name__ == "__main__":
    main()
