"""The table of corpora, written from their records: `python -m mambats_datasets.catalogue` prints it."""

from __future__ import annotations

from mambats_datasets import beijing, broad, cmapss, ett, euroc, gtsam_ins, imufusion, kitti, nab, nuscenes, uea, vega
from mambats_datasets.source import SourceRecord


def records() -> dict[str, list[SourceRecord]]:
    """Return the records of every corpus by the class that reads them."""
    return {
        "ETT": list(ett.RECORDS.values()),
        "BeijingPM25": [beijing.RECORD],
        "VegaTemperature": list(vega.RECORDS.values()),
        "EuRoC": list(euroc.RECORDS.values()),
        "Broad": list(broad.RECORDS.values()),
        "GtsamINS": list(gtsam_ins.RECORDS.values()),
        "XioFusion": [imufusion.RECORD],
        "CMAPSS": list(cmapss.RECORDS.values()),
        "NAB": list(nab.RECORDS.values()),
        "KittiTracking": [entry for file, entry in kitti.RECORDS.items() if file.startswith("kitti_tracking/")],
        "KittiObject": [entry for file, entry in kitti.RECORDS.items() if file.startswith("kitti_frame/")],
        "KittiOdometry": [entry for file, entry in kitti.RECORDS.items() if file.startswith("kitti_odometry/")],
        "NuScenes": list(nuscenes.RECORDS.values()),
        "UEA": list(uea.RECORDS.values()),
    }


def catalogue() -> str:
    """Write the records as a Markdown table."""
    lines = ["| class | file | bytes | sha256 | licence | cite | units | from |", "|---|---|---|---|---|---|---|---|"]
    for reader, entries in records().items():
        for entry in entries:
            size = "" if entry.bytes is None else f"{entry.bytes:,}"
            source = f"package {entry.packaged}" if entry.packaged else f"<{entry.url}>"
            cells = (
                reader,
                entry.file,
                size,
                f"`{entry.sha256[:16]}`",
                entry.licence,
                entry.citation,
                entry.units,
                source,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(catalogue())
