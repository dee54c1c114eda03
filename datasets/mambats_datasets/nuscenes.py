"""nuScenes: a car with a 32-beam LiDAR and six cameras in Singapore and Boston, sample by sample.

The files are CC BY-NC-SA 4.0 and behind a login: they are read where a user has them, never fetched and never shipped.
"""

from __future__ import annotations

from mambats.formats.error import DataError
from mambats.formats.nuscenes import Infos
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate_folder, verify

_DEMO = "https://github.com/open-mmlab/mmdetection3d/blob/fe25f7a51d36e3702f961e198894580d83c4387b/demo/data/nuscenes"
_NAME = "n015-2018-07-24-11-22-45+0800"


def _record(file: str, sha256: str, size: int, units: str) -> SourceRecord:
    return SourceRecord(
        name="nuScenes (one sample of mmdetection3d)",
        file=f"nuscenes_frame/{file}",
        url=f"{_DEMO}/{file}",
        sha256=sha256,
        bytes=size,
        licence="CC BY-NC-SA 4.0",
        citation="Caesar et al., nuScenes: a multimodal dataset for autonomous driving, CVPR 2020",
        units=units,
    )


RECORDS = {
    record.file: record
    for record in (
        _record(
            f"{_NAME}.pkl",
            "5ced892a1c939de17b9df1c2719684f84e0103096c2f689761631d1c34fb0ac8",
            59_231,
            "px, m, rad, s",
        ),
        _record(
            f"{_NAME}__LIDAR_TOP__1532402927647951.pcd.bin",
            "5f8f9b1b199ceff7d41cd319021a7a7b02dcd44d41f622a9e65a6a4a6be3cbdb",
            693_760,
            "m in the LiDAR; intensity 0 to 255; ring 0 to 31",
        ),
    )
}


class NuScenes:
    """Samples of an infos pickle, one recording each: `lidar`, six cameras, `labels`, poses as truth.

    Args:
        root: Folder that holds the folder below, or None for MAMBATS_DATA.
        infos: File of infos (version 1.1) in the folder; empty for the only .pkl there.
        folder: With the infos, and the sensors' files beside them or in `samples/`.
        samples: How many to read from the first, or None for all.
        faults: `refuse` faults, or `repair` and report them.
    """

    name = "nuscenes"

    def __init__(
        self,
        root: str | None = None,
        infos: str = "",
        folder: str = "nuscenes_frame",
        samples: int | None = None,
        faults: Choice = "refuse",
    ) -> None:
        self.root = root
        self.infos = infos
        self.folder = folder
        self.samples = samples
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a sample: see `mambats.formats.nuscenes.Infos`."""
        home = locate_folder(self.folder, "https://www.nuscenes.org/nuscenes (free after login)", self.root)
        for record in RECORDS.values():
            path = home / record.file.partition("/")[2]
            if path.is_file():
                verify(path, record)
        found = sorted(home.glob("*.pkl")) if not self.infos else [home / self.infos]
        if len(found) != 1:
            raise DataError(f"{home}: holds {len(found)} .pkl files: name one with `infos`.")
        infos = Infos(found[0], home)
        count = len(infos) if self.samples is None else min(self.samples, len(infos))
        return [infos.recording(sample, self.policy) for sample in range(count)]
