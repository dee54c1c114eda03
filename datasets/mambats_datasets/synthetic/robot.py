"""Robots that never were: recordings and training batches of simulated sensors, with the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.series import FrameTree, Recording, Rigid, Stream
from mambats_datasets.synthetic.barometer import Barometer
from mambats_datasets.synthetic.gnss import Gnss
from mambats_datasets.synthetic.grade import GRADES
from mambats_datasets.synthetic.magnetometer import Magnetometer
from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.reading import Reading, Sensor
from mambats_datasets.synthetic.trajectory import KINDS, Trajectory, random_trajectory, uniform_times
from mambats_datasets.synthetic.wheel import Wheel

START = 1_577_836_800 * 10**9  # 2020-01-01, true time 0
WHEELED = ("robot", "courier", "car")
TRUTH_RATE = 100.0  # Hz
SENSORS: dict[str, Sensor] = {
    "gnss": Gnss(),
    "wheel": Wheel(),
    "magnetometer": Magnetometer(),
    "barometer": Barometer(),
}


@dataclass(frozen=True)
class Simulated:
    """A batch of B simulated drives.

    Args:
        readings: Of each sensor by name, on its own clock.
        time: True times of `motion`, shape (B, T) float64 seconds.
        motion: Of `base_link` in `map`.
        trajectory: The same at any time: `trajectory(readings["imu"].ticks.time)` is the truth at the IMU's samples.
    """

    readings: Mapping[str, Reading]
    time: Tensor
    motion: Motion
    trajectory: Trajectory


class SimulatedRobots:
    """Robots, cars, drones or hands with sensors; all physics and errors known, nothing read from disk.

    Stamps are what each sensor's clock said; truth is on the true clock; a sensor's true clock and scale errors are in
    `static` (`imu_offset` in seconds, `imu_drift` in ppm), for tests.

    Args:
        kind: Of trajectory: robot, courier (a robot that stops now and then), car, drone, hand, tumble or rest.
        series: Recordings that `recordings` gives.
        duration: Of each, s.
        imu: Grade of the inertial unit: ideal, consumer or tactical. An ideal one makes the other sensors no better.
        sensors: Which it carries, of imu, gnss, wheel, magnetometer, barometer; or sensors of any make by name,
            `{"gnss": Gnss(origin=(47.4, 8.5, 400.0))}`. None for imu, gnss and, where there are wheels, wheel.
        clocks: Sensor's clock errors by name, as offset in seconds and drift in ppm: `{"imu": (0.0373, 100)}`.
        mounts: Where sensors sit in base_link by name, as x, y, z in metres, and qx, qy, qz, qw if turned.
        seed: Key of all random numbers of `recordings`.

    Raises:
        DataError: If a name is unknown or a number out of range.
    """

    name = "simulated"

    def __init__(
        self,
        kind: str = "robot",
        series: int = 4,
        duration: float = 60.0,
        imu: str = "consumer",
        sensors: Sequence[str] | Mapping[str, Sensor] | None = None,
        clocks: Mapping[str, Sequence[float]] | None = None,
        mounts: Mapping[str, Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        if series < 1 or not duration > 0:
            raise DataError(f"series is {series} and duration {duration} s: both must be positive.")
        _among("kind", [kind], KINDS)
        _among("imu", [imu], GRADES)
        self.kind, self.series, self.duration, self.seed = kind, series, duration, seed
        made = sensors if isinstance(sensors, Mapping) else self._choose(sensors, imu)
        _among("clocks", clocks or (), made)
        _among("mounts", mounts or (), made)
        clocks, mounts = clocks or {}, mounts or {}
        self.sensors = {name: _fit(name, one, clocks.get(name), mounts.get(name)) for name, one in made.items()}

    def _choose(self, names: Sequence[str] | None, imu: str) -> dict[str, Sensor]:
        """Sensors by their names, or those that every robot of this kind has."""
        known: dict[str, Sensor] = {"imu": GRADES[imu], **SENSORS}
        if self.kind not in WHEELED:
            del known["wheel"]
        if names is None:
            names = [name for name in ("imu", "gnss", "wheel") if name in known]
        _among("sensors", names, known)
        return {name: known[name] for name in names}

    def batch(self, count: int, generator: torch.Generator) -> Simulated:
        """Simulate `count` drives at once, on the generator's device: training data without end.

        The true motion is given at 100 Hz.
        """
        trajectory = random_trajectory(self.kind, count, self.duration, generator)
        readings = {name: sensor.read(trajectory, generator) for name, sensor in self.sensors.items()}
        time = uniform_times(count, self.duration, TRUTH_RATE, generator.device)
        return Simulated(readings, time, trajectory(time), trajectory)

    def recordings(self) -> list[Recording]:
        """Return the series, the same for the same arguments; a longer list begins with the shorter one."""
        return [self._recording(index) for index in range(self.series)]

    def _recording(self, index: int) -> Recording:
        key = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0])
        drive = self.batch(1, torch.Generator().manual_seed(key))
        streams = {name: _stream(self.sensors[name], reading) for name, reading in drive.readings.items()}
        truth = {**_motion(drive), **_errors(self.sensors, drive)}
        static = _facts(self.sensors, drive)
        frames = FrameTree(tuple(sensor.mount for sensor in self.sensors.values()))
        return Recording(f"{self.kind}_{index}", streams, static, frames=frames, truth=truth)


def _among(
    argument: str, given: Sequence[str] | Mapping[str, object], known: Sequence[str] | Mapping[str, object]
) -> None:
    """Refuse names that are not known."""
    if unknown := [name for name in given if name not in known]:
        raise DataError(f"{argument} names {unknown}: choose of {', '.join(known)}.")


def _fit(name: str, sensor: Sensor, clock: Sequence[float] | None, mount: Sequence[float] | None) -> Sensor:
    """Give a sensor its clock and its place."""
    if clock is not None:
        if len(clock) != 2:
            raise DataError(f"clocks[{name!r}] is {list(clock)}, needed offset in seconds and drift in ppm.")
        sensor = replace(sensor, timing=replace(sensor.timing, offset=float(clock[0]), drift=float(clock[1])))
    if mount is not None:
        if len(mount) not in (3, 7):
            raise DataError(f"mounts[{name!r}] is {list(mount)}, needed x, y, z [m] and, if turned, qx, qy, qz, qw.")
        x, y, z, *turn = (float(number) for number in mount)
        qx, qy, qz, qw = turn or (0.0, 0.0, 0.0, 1.0)
        sensor = replace(sensor, mount=Rigid("base_link", name, (x, y, z), (qx, qy, qz, qw)))
    return sensor


def _stamps(seconds: Tensor) -> np.ndarray:
    """Nanoseconds since 1970 of times (T,) since START."""
    return START + (seconds.cpu().numpy() * 1e9).round().astype(np.int64)


def _stream(sensor: Sensor, reading: Reading) -> Stream:
    """The measurements of the one robot of a batch that were not lost."""
    present = reading.ticks.present[0]
    frame = "map" if "px" in sensor.channels else sensor.mount.child
    covariance = np.diag(np.square(sensor.deviations))
    values = reading.values[0][present].contiguous().cpu().numpy()
    return Stream(
        _stamps(reading.ticks.stamp[0][present]), values, sensor.channels, None, sensor.units, frame, covariance
    )


def _motion(drive: Simulated) -> dict[str, Stream]:
    """Pose and velocity in the map, and angular velocity in the body, on the true clock."""
    stamps, motion = _stamps(drive.time[0]), drive.motion
    pose = torch.cat([motion.position[0], motion.quaternion[0]], -1).contiguous().cpu().numpy()
    velocity, rate = (part[0].contiguous().cpu().numpy() for part in (motion.velocity, motion.angular_velocity))
    return {
        "pose": Stream(stamps, pose, ("px", "py", "pz", "qx", "qy", "qz", "qw"), None, ("m",) * 3 + ("",) * 4, "map"),
        "velocity": Stream(stamps, velocity, ("vx", "vy", "vz"), None, "m/s", "map"),
        "rate": Stream(stamps, rate, ("wx", "wy", "wz"), None, "rad/s", "base_link"),
    }


def _errors(sensors: Mapping[str, Sensor], drive: Simulated) -> dict[str, Stream]:
    """Each sensor's errors over true time: `imu_bias` in the channels of the sensor, `wheel_slip` and such."""
    made = dict[str, Stream]()
    for name, reading in drive.readings.items():
        for error, tensor in reading.truth.items():
            values = tensor[0].contiguous().cpu().numpy()
            whole = values.shape[1] == len(sensors[name].channels)
            channels, units = (sensors[name].channels, sensors[name].units) if whole else ((error,), "")
            made[f"{name}_{error}"] = Stream(_stamps(reading.ticks.time[0]), values, channels, None, units)
    return made


def _facts(sensors: Mapping[str, Sensor], drive: Simulated) -> dict[str, float]:
    """What held throughout: clocks and constant errors."""
    made = dict[str, float]()
    for name, reading in drive.readings.items():
        timing = sensors[name].timing
        made |= {f"{name}_offset": timing.offset, f"{name}_drift": timing.drift, f"{name}_latency": timing.latency}
        made |= {f"{name}_{fact}": float(value[0]) for fact, value in reading.facts.items()}
    return made
