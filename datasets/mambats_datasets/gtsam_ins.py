"""The KITTI drive of GTSAM's examples: 470 s of IMU at 100 Hz and GPS at 1 Hz, 3.7 km."""

from __future__ import annotations

from mambats.formats.gtsam_ins import read_gtsam_ins
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate


def _record(file: str, sha256: str, size: int) -> SourceRecord:
    return SourceRecord(
        name="GtsamINS",
        file=f"gtsam_kitti_ins/{file}",
        url=f"https://raw.githubusercontent.com/borglab/gtsam/4.2.0/examples/Data/{file}",
        sha256=sha256,
        bytes=size,
        licence="CC BY-NC-SA 3.0 (KITTI raw)",
        citation="Geiger et al., Vision meets robotics: the KITTI dataset, IJRR 2013; GTSAM 4.3.0",
        units="imu m/s^2, rad/s; GPS m in a local frame; times s",
    )


RECORDS = {
    "imu": _record(
        "KittiEquivBiasedImu.txt", "90264418a69979eccd6d84eb69560225dff544bf6affe353ea37bb70d4ecf38a", 6_648_928
    ),
    "metadata": _record(
        "KittiEquivBiasedImu_metadata.txt", "70f51ea40a05f1097484634d60064f16bc1622abcaa872458e555442afa44580", 221
    ),
    "gps": _record(
        "KittiGps_converted.txt", "aa6f2a1332a40e8cbcd071de650f6b62fc58253e8bef83c8efeb51548dc9102c", 42_122
    ),
}


class GtsamINS:
    """One drive: stream `imu` with a constant bias, stream `gnss` in a local frame; there is no other truth.

    Args:
        root: Folder that holds `gtsam_kitti_ins/` (files also gzipped), or None for MAMBATS_DATA, else a download.
        faults: `refuse` clock faults, or `repair` and report them.
    """

    name = "gtsam_ins"

    def __init__(self, root: str | None = None, faults: Choice = "refuse") -> None:
        self.root = root
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording: streams `imu`, `gnss`; noise densities as facts."""
        paths = [locate(record, self.root) for record in RECORDS.values()]
        return [read_gtsam_ins(paths[0].parent, self.policy)]
