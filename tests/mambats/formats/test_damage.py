"""Whatever is damaged in a file, a reader reads it or says DataError: nothing else comes out."""

import random
from pathlib import Path

import pytest

from mambats.formats import (
    REFUSE,
    REPAIR,
    DataError,
    Policy,
    read_broad,
    read_cmapss,
    read_euroc,
    read_gtsam_ins,
    read_nab,
    read_sensor_csv,
    read_uea,
)
from mambats_datasets.fakes import broad, cmapss, euroc, gtsam_ins, imufusion, nab, uea
from mambats_datasets.imufusion import SENSORS

READERS = {
    "euroc": (lambda folder: euroc.fake(folder / "V1", 40), read_euroc),
    "loose": (lambda folder: euroc.fake_loose(folder / "MH", 40), read_euroc),
    "broad": (lambda folder: broad.fake(folder, 100, (10, 12)), read_broad),
    "gtsam_ins": (lambda folder: gtsam_ins.fake(folder / "ins", 40), read_gtsam_ins),
    "cmapss": (lambda folder: cmapss.fake(folder), lambda path, policy: read_cmapss(path, part="test", policy=policy)),
    "nab": (nab.fake, lambda path, policy: read_nab(path, path.with_name("combined_windows.json"), policy)),
    "uea": (uea.fake, lambda path, policy: read_uea(path, 10, policy)),
    "unequal": (uea.fake_unequal, lambda path, policy: read_uea(path, 10, policy)),
    "csv": (imufusion.fake, lambda path, policy: read_sensor_csv(path, SENSORS, "Time (s)", policy=policy)),
}
WORDS = [b"", b";", b"\t", b"nan", b"1e400", b"#", b'"', b"\0", b"\r", b"\xff"]


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut, drop, repeat or shuffle lines, or change bytes."""
    at, kind = rng.randrange(len(data)), rng.randrange(7)
    if kind < 2:
        return data[:at] if kind else data[at:]
    if kind == 2:
        return data[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6))) + data[at + rng.randrange(3) :]
    if kind == 3:
        return data[:at] + b"\n" + data[at:]
    if kind == 4:
        return data.replace(
            rng.choice([b",", b" ", b".", b"1", b"e", b"-", b":"]), rng.choice(WORDS), rng.randrange(1, 4)
        )
    lines = data.split(b"\n")
    if kind == 5:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    else:
        rng.shuffle(lines)
    return b"\n".join(lines)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_damage_is_read_or_named(tmp_path: Path, name: str):
    make, read = READERS[name]
    path = make(tmp_path)
    whole = {
        file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file() and file.suffix != ".png"
    }
    refused = 0
    for seed in range(40):
        rng = random.Random(f"{name} {seed}")
        file = rng.choice(list(whole))
        file.write_bytes(damage(whole[file], rng))
        try:
            read(path, rng.choice([REFUSE, REPAIR, Policy(units="trust")]))
        except DataError as error:
            refused += 1
            assert str(tmp_path) in str(error), "the message names the file"
        file.write_bytes(whole[file])
    assert refused > 5
