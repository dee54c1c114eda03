"""sensor_msgs that are rows of numbers: IMU, magnetometer, GNSS, pressure, temperature, range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mambats.formats.messages.fields import Columns, Fields, Kind, Parts, Topic, copied, header, make_stream, noise
from mambats.formats.messages.layout import Table
from mambats.formats.repair import Array, Place, settle_quaternions
from mambats.series import Stream

XYZ = ("x", "y", "z")
#: Semi-axis [m] and squared eccentricity of WGS 84.
AXIS, SQUARED = 6378137.0, 6.69437999014e-3


def numbers(paths: Sequence[str], channels: Sequence[str], units: Sequence[str], variance: str = "") -> Kind:
    """Read a type whose fields stand for themselves; `variance` names one of a single channel, or a matrix's field."""
    extra = [variance] if variance else []

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        made, lines = make_stream(fields, topic, fields.stack(*paths), channels, units)
        if variance:
            width = len(channels)
            made = replace(made, covariance=noise(fields[variance].astype(np.float64).reshape(-1, width, width)))
        return Parts({topic.stream: made}, repairs=repairs + lines)

    return Kind(lambda table: [{**header(table), **copied(table, [*paths, *extra])}], build)


def imu() -> Kind:
    """sensor_msgs/Imu: `imu`, and its orientation as `imu/orientation` where the driver gives one."""
    turn = [f"orientation.{axis}" for axis in (*XYZ, "w")]
    rates = [f"angular_velocity.{axis}" for axis in XYZ]
    forces = [f"linear_acceleration.{axis}" for axis in XYZ]
    noises = ["orientation_covariance", "angular_velocity_covariance", "linear_acceleration_covariance"]

    def pick(table: Table) -> list[Columns]:
        return [{**header(table), **copied(table, [*turn, *rates, *forces, *noises])}]

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        values = fields.stack(*rates, *forces)
        turned, *parts = (fields[name].astype(np.float64).reshape(-1, 3, 3) for name in noises)
        for column, part in zip((0, 3), parts, strict=True):
            # A first element of -1 says that the sensor has no such measurement.
            values[part[:, 0, 0] == -1, column : column + 3] = np.nan
        made, lines = make_stream(
            fields, topic, values, ("wx", "wy", "wz", "ax", "ay", "az"), ["rad/s"] * 3 + ["m/s^2"] * 3
        )
        whole = np.zeros((len(fields), 6, 6))
        whole[:, :3, :3], whole[:, 3:, 3:] = parts
        known = all(noise(part) is not None for part in parts)
        found = Parts({topic.stream: replace(made, covariance=noise(whole) if known else None)})
        quaternions = fields.stack(*turn)
        given = (turned[:, 0, 0] != -1) & (np.linalg.norm(quaternions, axis=1) > 0)
        if given.any():
            quaternions[~given] = np.nan
            more, added = _orientation(fields, topic, quaternions)
            found.streams[f"{topic.stream}/orientation"] = more
            lines += added
        found.repairs += repairs + lines
        return found

    return Kind(pick, build)


def magnetic() -> Kind:
    """sensor_msgs/MagneticField [T] to `mx my mz` [uT]."""
    paths = [f"magnetic_field.{axis}" for axis in XYZ]

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        made, lines = make_stream(fields, topic, fields.stack(*paths) * 1e6, ("mx", "my", "mz"), ["uT"] * 3)
        covariance = fields["magnetic_field_covariance"].astype(np.float64).reshape(-1, 3, 3) * 1e12
        return Parts({topic.stream: replace(made, covariance=noise(covariance))}, repairs=repairs + lines)

    return Kind(lambda table: [{**header(table), **copied(table, [*paths, "magnetic_field_covariance"])}], build)


def satellite() -> Kind:
    """sensor_msgs/NavSatFix: rows without a fix are unobserved; metres east, north, up become degrees and metres."""
    paths = ["latitude", "longitude", "altitude"]
    more = ["status.status", "position_covariance", "position_covariance_type"]

    def build(fields: Fields, topic: Topic) -> Parts:
        fields, repairs = fields.settled(topic)
        values = fields.stack(*paths)
        values[fields["status.status"].astype(np.int64) < 0] = np.nan
        made, lines = make_stream(fields, topic, values, paths, ["deg", "deg", "m"])
        covariance = None
        if fields["position_covariance_type"].astype(bool).any():
            metres = fields["position_covariance"].astype(np.float64).reshape(-1, 3, 3)
            factors = per_metre(values[:, 0])
            covariance = noise(factors @ metres @ factors.transpose(0, 2, 1))
        return Parts({topic.stream: replace(made, covariance=covariance)}, repairs=repairs + lines)

    return Kind(lambda table: [{**header(table), **copied(table, [*paths, *more])}], build)


def per_metre(latitude: Array) -> Array:
    """Latitude, longitude [deg] and altitude [m] a metre east, north, up at some latitudes (T,), shape (T, 3, 3).

    Source: WGS 84; radii of curvature in the prime vertical and the meridian. Where there is no latitude: at 0.
    """
    angle = np.radians(np.nan_to_num(latitude))
    root = np.sqrt(1 - SQUARED * np.sin(angle) ** 2)
    made = np.zeros((len(angle), 3, 3))
    made[:, 0, 1] = np.degrees(root**3 / (AXIS * (1 - SQUARED)))
    made[:, 1, 0] = np.degrees(root / (AXIS * np.cos(angle)))
    made[:, 2, 2] = 1
    return made


def _orientation(fields: Fields, topic: Topic, quaternions: Array) -> tuple[Stream, list[str]]:
    place = Place(topic.place.name, fields.numbers, "message")
    settled, lines = settle_quaternions(quaternions, place, topic.policy)
    made, more = make_stream(fields, topic, settled, ("qx", "qy", "qz", "qw"), [""] * 4)
    return made, [*lines, *more]


#: Types of this file by name.
KINDS: dict[str, Callable[[], Kind]] = {
    "sensor_msgs/msg/Imu": imu,
    "sensor_msgs/msg/MagneticField": magnetic,
    "sensor_msgs/msg/NavSatFix": satellite,
    "sensor_msgs/msg/FluidPressure": lambda: numbers(["fluid_pressure"], ["pressure"], ["Pa"], "variance"),
    "sensor_msgs/msg/Temperature": lambda: numbers(["temperature"], ["temperature"], ["degC"], "variance"),
    "sensor_msgs/msg/RelativeHumidity": lambda: numbers(["relative_humidity"], ["humidity"], [""], "variance"),
    "sensor_msgs/msg/Illuminance": lambda: numbers(["illuminance"], ["illuminance"], ["lx"], "variance"),
    "sensor_msgs/msg/Range": lambda: numbers(["range"], ["range"], ["m"]),
}
