"""Write tiny files in the layouts of seattle-temps.csv and sf-temps.csv: columns in other orders, an hour missing."""

import sys
from datetime import datetime, timedelta
from pathlib import Path


def make(folder: Path, rows: int = 48, lost: int = 26) -> dict[str, Path]:
    stamps = [datetime(2010, 1, 1) + timedelta(hours=row) for row in range(rows) if row != lost]
    seattle = ["date,temp", *(f"{stamp:%Y/%m/%d %H:%M},{40 + stamp.hour / 10:.1f}" for stamp in stamps)]
    city = ["temp,date", *(f"{50 + stamp.hour / 10:.1f},{stamp:%Y/%m/%d %H:%M:%S}" for stamp in stamps)]
    paths = {"seattle": folder / "seattle-temps.csv", "san_francisco": folder / "sf-temps.csv"}
    for path, lines in zip(paths.values(), (seattle, city), strict=True):
        path.write_text("\n".join(lines))
    return paths


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
