"""A few short lives of engines: train, test and RUL files with two blanks at the ends of lines, as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def fake(folder: Path, lives: tuple[int, ...] = (12, 9, 15), left: tuple[int, ...] = (7, 30, 4), seed: int = 0) -> Path:
    """Write FD001 with engines that live so many cycles, and test engines with so many left; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for part in ("train", "test"):
        lines = list[str]()
        for unit, life in enumerate(lives, 1):
            for cycle in range(1, life + 1):
                numbers = np.round(500 + rng.normal(size=21) + cycle * 0.1, 2)
                settings = (0.0023, -0.0003, 100.0)
                lines.append(" ".join([str(unit), str(cycle), *(f"{v:g}" for v in (*settings, *numbers))]) + "  ")
        (folder / f"{part}_FD001.txt").write_text("\n".join(lines) + "\n")
    (folder / "RUL_FD001.txt").write_text("".join(f"{cycles} \n" for cycles in left))
    return folder
