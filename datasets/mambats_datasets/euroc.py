"""EuRoC: a drone with a stereo camera and an IMU in a machine hall and a room, with millimetre truth."""

from __future__ import annotations

from collections.abc import Sequence

from mambats.formats.euroc import read_euroc
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate_folder, verify

URL = "https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets"
SEQUENCES = (
    "MH_01_easy", "MH_02_easy", "MH_03_medium", "MH_04_difficult", "MH_05_difficult", "V1_01_easy", "V1_02_medium",
    "V1_03_difficult", "V2_01_easy", "V2_02_medium", "V2_03_difficult",
)  # fmt: skip


def _record(file: str, url: str, sha256: str, size: int) -> SourceRecord:
    return SourceRecord(
        name="EuRoC (loose tables of mirrors)",
        file=f"euroc/{file}",
        url=url,
        sha256=sha256,
        bytes=size,
        licence="free for research with citation",
        citation="Burri et al., The EuRoC micro aerial vehicle datasets, IJRR 2016",
        units="imu rad/s, m/s^2; pose m, quaternion; stamps ns (IMU, rounded to 10 us by the mirror) or s",
    )


#: Loose tables whose content is known; whole sequences (`mav0`) are read without a checksum: none is published.
RECORDS = {
    "MH_01_easy/imu0.csv": _record(
        "MH_01_easy/imu0.csv",
        "https://github.com/kalebburnham/IMU-Research/blob/454019146f6d6db1d6d1c04e8f6c2f184bb7e550/mav0/imu0/data.csv",
        "c0b0a63c0d9a09daee69eed35109d1e1c518caefbfd950d9293ae5e1f599f3ab",
        3_699_645,
    ),
    "MH_01_easy/groundtruth_tum.txt": _record(
        "MH_01_easy/groundtruth_tum.txt",
        "https://github.com/rpng/open_vins/blob/69488123ed9362dd44b6f28e7f4680abbff1442b/ov_data/euroc_mav/MH_01_easy.txt",
        "ab1579de35a047d241e2d0d1a4f4306b4fa51d99c6f11bcdebf336ab2b784df9",
        3_043_947,
    ),
}


class EuRoC:
    """Flights of 80 to 180 s: IMU at 200 Hz, pictures at 20 Hz where they are there, true poses.

    Args:
        root: Folder that holds `euroc/<sequence>` (whole, with `mav0`, or loose tables), or None for MAMBATS_DATA.
        sequences: Which flights.
        faults: `refuse` clock faults, or `repair` and report them.
    """

    name = "euroc"

    def __init__(
        self, root: str | None = None, sequences: Sequence[str] = ("MH_01_easy",), faults: Choice = "refuse"
    ) -> None:
        self.root = root
        self.sequences = sequences
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a flight: stream `imu`, images `cam0`, `cam1`, truth `pose`."""
        return [self._one(sequence) for sequence in self.sequences]

    def _one(self, sequence: str) -> Recording:
        folder = locate_folder(f"euroc/{sequence}", URL, self.root)
        for file, record in RECORDS.items():
            path = folder.parent / file
            if file.startswith(f"{sequence}/") and path.is_file():
                verify(path, record)
        return read_euroc(folder, self.policy)
