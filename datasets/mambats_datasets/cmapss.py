"""C-MAPSS: simulated turbofan engines that run to failure; how many flights are left?"""

from __future__ import annotations

import os
from typing import Literal

from mambats.formats.cmapss import read_cmapss
from mambats.formats.error import DataError
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

URL = (
    "https://raw.githubusercontent.com/rajarshiroydev/industry_4.0/b4fd25621133c3d1a38ca2be06152e018f70b4ca/CMAPSSData"
)
#: sha256 and bytes of the files that are known here; others are read unverified.
KNOWN = {
    "train_FD001.txt": ("1c7a8ced36818e598026aef702f823950696449f0db46427a9a2d6fbaf213c16", 3_321_672),
    "test_FD001.txt": ("3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851", 2_228_855),
}


def record(file: str) -> SourceRecord:
    """Return the record of a file; its checksum is empty where it is not known."""
    sha256, size = KNOWN.get(file, ("", None))
    return SourceRecord(
        name="CMAPSS",
        file=f"cmapss/{file}",
        url=f"{URL}/{file}",
        sha256=sha256,
        bytes=size,
        licence="US government work (NASA PCoE)",
        citation="Saxena et al., Damage propagation modeling for aircraft engine run-to-failure simulation, PHM 2008",
        units="cycles; settings 1000 ft, Mach, %; sensors degR, psia, rpm, lbm/s",
    )


RECORDS = {file: record(file) for file in KNOWN}


class CMAPSS:
    """One recording an engine: `sensors` and `settings` each flight, truth `rul`.

    Args:
        root: Folder that holds `cmapss/`, or None for MAMBATS_DATA, else a download.
        subset: FD001 to FD004.
        part: `train` (to failure) or `test` (cut off; truth where `RUL_<subset>.txt` is there).
        faults: `refuse` clock faults, or `repair` and report them.
    """

    name = "cmapss"

    def __init__(
        self,
        root: str | None = None,
        subset: str = "FD001",
        part: Literal["train", "test"] = "train",
        faults: Choice = "refuse",
    ) -> None:
        if part not in ("train", "test"):
            raise DataError(f"part is {part!r}: choose train or test.")
        self.root = root
        self.subset = subset
        self.part: Literal["train", "test"] = part
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording an engine; a cycle is one second of the clock."""
        file = f"{self.part}_{self.subset}.txt"
        path = locate(RECORDS.get(file) or record(file), self.root)
        if self.part == "test" and not (self.root or os.environ.get("MAMBATS_DATA")):
            locate(record(f"RUL_{self.subset}.txt"), None)  # downloaded to stand beside, where the reader finds it
        return read_cmapss(path.parent, self.subset, self.part, self.policy)
