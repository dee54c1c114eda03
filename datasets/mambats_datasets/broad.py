"""BROAD: an IMU with a magnetometer moved by hand in many ways, with optical orientation as truth."""

from __future__ import annotations

from collections.abc import Sequence

from mambats.formats.broad import read_broad
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

URL = "https://raw.githubusercontent.com/dlaidig/broad/7e2f8189bb4a3ac91eae32c69b6bc87f08a6e2ad/data_mat"
#: sha256 and bytes of the trials that are known here; others are read unverified.
KNOWN = {
    "10_undisturbed_slow_translation_A": (
        "eee6293f1d0aaf8d0ac025b873667f6f7697acad318057f4fd6a801fb31c93c1",
        3_530_063,
    ),
    "15_undisturbed_fast_translation_A": (
        "4290740d09dc3e055dd3cc939d083fa55321a9c90c0cb0aa3a6ffc26c4350951",
        3_619_717,
    ),
}


def record(trial: str) -> SourceRecord:
    """Return the record of a trial; its checksum is empty where it is not known."""
    sha256, size = KNOWN.get(trial, ("", None))
    return SourceRecord(
        name="BROAD",
        file=f"broad/{trial}.mat",
        url=f"{URL}/{trial}.mat",
        sha256=sha256,
        bytes=size,
        licence="CC BY 4.0",
        citation="Laidig et al., BROAD: A benchmark for robust inertial orientation estimation, Data 6(7), 2021",
        units="gyroscope rad/s, accelerometer m/s^2, magnetometer uT, pose m and quaternion, movement 0 or 1",
    )


RECORDS = {trial: record(trial) for trial in KNOWN}


class Broad:
    """Trials of three to six minutes at 285.7 Hz; scores are taken where truth `movement` is 1.

    Args:
        root: Folder that holds `broad/<trial>.mat`, or None for MAMBATS_DATA, else a download.
        trials: Names of the files without `.mat`: `01_undisturbed_slow_rotation_A` to `39_disturbed_mixed`.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "broad"

    def __init__(
        self, root: str | None = None, trials: Sequence[str] = tuple(KNOWN), faults: Choice = "refuse"
    ) -> None:
        self.root = root
        self.trials = trials
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a trial: streams `imu`, `magnetometer`, truth `pose`, `movement`."""
        return [
            read_broad(locate(RECORDS.get(trial) or record(trial), self.root), self.policy) for trial in self.trials
        ]
