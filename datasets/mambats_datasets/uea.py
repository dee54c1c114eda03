"""UEA problems: labelled cases of several channels, BasicMotions (a smart watch) and JapaneseVowels (speakers)."""

from __future__ import annotations

from typing import Literal

from mambats.formats.error import DataError
from mambats.formats.repair import Choice, Policy
from mambats.formats.uea import Cases, read_uea
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

#: sha256 and bytes of the plain files that are known; other problems are read unverified.
KNOWN = {
    "BasicMotions_TRAIN": ("8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6", 227_790),
    "BasicMotions_TEST": ("79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc", 227_713),
    "JapaneseVowels_TRAIN": ("68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd", None),
    "JapaneseVowels_TEST": ("b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462", None),
}
#: Samples a second where it is known: the files do not say it.
RATES = {"BasicMotions": 10.0}


def record(part: str) -> SourceRecord:
    """Return the record of one file, `BasicMotions_TRAIN`; its checksum is empty where it is not known."""
    sha256, size = KNOWN.get(part, ("", None))
    problem = part.rpartition("_")[0]
    return SourceRecord(
        name="UEA",
        file=f"uea/{part}.ts",
        url=f"https://timeseriesclassification.com/aeon-toolkit/{problem}.zip",
        member=f"{part}.ts",
        sha256=sha256,
        bytes=size,
        licence="free for research (UEA archive); wheels of sktime and aeon carry it under BSD-3",
        citation="Bagnall et al., The UEA multivariate time series classification archive, 2018",
        units="as the problem has it; BasicMotions: accelerometer and gyroscope of a watch",
    )


RECORDS = {part: record(part) for part in KNOWN}


class UEA:
    """Cases of one problem, of equal lengths or not, each with its class as truth.

    Args:
        root: Folder that holds `uea/<problem>_TRAIN.ts` (also gzipped), or None for MAMBATS_DATA, else a download.
        problem: Name of the problem.
        part: `train` or `test`.
        faults: `refuse` a file that is cut off, or `repair`: read it to the cut.
    """

    name = "uea"

    def __init__(
        self,
        root: str | None = None,
        problem: str = "BasicMotions",
        part: Literal["train", "test"] = "train",
        faults: Choice = "refuse",
    ) -> None:
        if part not in ("train", "test"):
            raise DataError(f"part is {part!r}: choose train or test.")
        self.root = root
        self.problem = problem
        self.part: Literal["train", "test"] = part
        self.policy = Policy.of(faults)

    def cases(self) -> Cases:
        """Return the cases and the names of the classes."""
        part = f"{self.problem}_{self.part.upper()}"
        path = locate(RECORDS.get(part) or record(part), self.root)
        return read_uea(path, RATES.get(self.problem, 1.0), self.policy)

    def recordings(self) -> list[Recording]:
        """Return one recording a case: stream `input`, truth `class` (its index)."""
        return self.cases().recordings
