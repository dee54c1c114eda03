"""The log of an x-IMU3 that the Fusion library's examples carry: gyroscope, accelerometer, magnetometer, 135 s."""

from __future__ import annotations

from mambats.formats.repair import Choice, Policy
from mambats.formats.sensor_csv import Column, read_sensor_csv
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

RECORD = SourceRecord(
    name="XioFusion",
    file="imufusion/sensor_data.csv",
    url="https://raw.githubusercontent.com/xioTechnologies/Fusion/d69784c8f7058a6545802b8852d26d6fcfd5e119/Examples/Python/sensor_data.csv",
    sha256="a2833a207b4c0c51d52ee62e42069d1a11cf94b1aca1cd46a54d5e8fce577dcd",
    bytes=1_410_960,
    licence="MIT",
    citation="xioTechnologies, Fusion",
    units="deg/s, g, uT in the file; rad/s, m/s^2, uT in the recording",
)


def _three(prefix: str, sensor: str, unit: str) -> dict[str, Column]:
    return {f"{prefix}{axis.lower()}": Column(f"{sensor} {axis} ({unit})", unit) for axis in "XYZ"}


SENSORS = {
    "imu": _three("w", "Gyroscope", "deg/s") | _three("a", "Accelerometer", "g"),
    "magnetometer": _three("m", "Magnetometer", "uT"),
}


class XioFusion:
    """One log at 100 Hz, without truth.

    Args:
        root: Folder that holds `imufusion/sensor_data.csv`, or None for MAMBATS_DATA, else a download.
        faults: `refuse` clock faults, or `repair` and report them.
    """

    name = "imufusion"

    def __init__(self, root: str | None = None, faults: Choice = "refuse") -> None:
        self.root = root
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording: streams `imu`, `magnetometer`."""
        return [read_sensor_csv(locate(RECORD, self.root), SENSORS, "Time (s)", "s", self.policy)]
