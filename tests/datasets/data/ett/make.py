"""Write a tiny file in the layout of ETTh1.csv: header, ISO dates, seven loads with float32 digits."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np


def make(folder: Path, name: str = "ETTh1", rows: int = 48) -> Path:
    rng = np.random.default_rng(0)
    step = timedelta(hours=1) if name.startswith("ETTh") else timedelta(minutes=15)
    lines = ["date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"]
    for row, values in enumerate(rng.normal(5, 2, (rows, 7)).astype(np.float32)):
        stamp = datetime(2016, 7, 1) + row * step
        lines.append(",".join([f"{stamp:%Y-%m-%d %H:%M:%S}", *(repr(float(value)) for value in values)]))
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
