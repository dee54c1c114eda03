"""Tiny `.ts` problems: BasicMotions' header over cases of equal lengths, or JapaneseVowels' over unequal ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

MOTIONS = ("Standing", "Running", "Walking", "Badminton")


def fake(folder: Path, part: str = "TRAIN", cases: int = 8, seed: int = 0) -> Path:
    """Write `BasicMotions_<part>.ts.gz`: six dimensions, 20 steps, classes in turn."""
    rng = np.random.default_rng(seed)
    head = _head("BasicMotions", 6, f"@equalLength true\n@seriesLength 20\n@classLabel true {' '.join(MOTIONS)}")
    lines = [_line(rng.normal(size=(6, 20)), MOTIONS[case % 4]) for case in range(cases)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"BasicMotions_{part}.ts.gz"
    path.write_bytes(gzip.compress(("\n".join([head, *lines]) + "\n").encode(), mtime=0))
    return path


def fake_unequal(folder: Path, lengths: tuple[int, ...] = (7, 29, 12), seed: int = 0) -> Path:
    """Write `JapaneseVowels_TRAIN.ts`: three dimensions of the given lengths, classes 1 and 2 in turn."""
    rng = np.random.default_rng(seed)
    head = _head("JapaneseVowels", 3, "@equalLength false\n@classLabel true 1 2")
    lines = [_line(rng.normal(size=(3, length)), str(1 + case % 2)) for case, length in enumerate(lengths)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "JapaneseVowels_TRAIN.ts"
    path.write_text("\r\n".join([*head.splitlines(), *lines]) + "\r\n")
    return path


def _head(name: str, dimensions: int, rest: str) -> str:
    return (
        f"#A fake.\n@problemName {name}\n@timeStamps false\n@missing false\n@univariate false\n"
        f"@dimensions {dimensions}\n{rest}\n@data"
    )


def _line(values: np.ndarray, label: str) -> str:
    return ":".join([*(",".join(f"{v:.6f}" for v in row) for row in values), label])
