"""Published data sets of sensors and machines."""

from __future__ import annotations

import re
from pathlib import Path

from mambats.formats.error import DataError
from mambats.formats.opener.look import Format, Look
from mambats.formats.repair import Policy
from mambats.series import Recording

CMAPSS = re.compile(r"(train|test)_(FD\d{3})\.txt(\.gz)?$")


def _euroc(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.euroc import read_euroc

    return [read_euroc(path, policy)]


def _is_euroc(look: Look) -> bool:
    if look.has("mav0/imu0/data.csv") or look.has("imu0/data.csv"):
        return True
    # Loose tables: one of them says what the stamps and the rates are, as EuRoC's header does.
    tables = [Look(path) for path in sorted(look.path.glob("*.csv"))[:5]] if look.is_folder else []
    return any(table.header.startswith("#timestamp") and "w_RS_S_x" in table.header for table in tables)


def _gtsam(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.gtsam_ins import read_gtsam_ins

    return [read_gtsam_ins(path, policy)]


def _broad(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.broad import read_broad

    return [read_broad(path, policy)]


def _is_mat(look: Look) -> bool:
    return look.head.startswith((b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"))


def _cmapss(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.cmapss import read_cmapss

    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [match for file in files if (match := CMAPSS.search(file.name))]
    home, made = path if path.is_dir() else path.parent, list[Recording]()
    for match in found:
        made += read_cmapss(home, match[2], "train" if match[1] == "train" else "test", policy)
    return made


def _is_cmapss(look: Look) -> bool:
    names = [path.name for path in look.path.iterdir()] if look.is_folder else [look.path.name]
    return any(CMAPSS.search(name) for name in names)


def _nab(path: Path, policy: Policy) -> list[Recording]:
    import json

    from mambats.formats.nab import read_nab

    beside = path.parent / "combined_windows.json"
    try:
        known = beside.is_file() and path.name.removesuffix(".gz") in {
            Path(name).name for name in json.loads(beside.read_text(encoding="utf-8"))
        }
    except ValueError as error:
        raise DataError(f"{beside}: no JSON table of windows ({error}). Get it again or move it away.") from error
    return [read_nab(path, beside if known else None, policy)]


def _uea(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.uea import read_uea

    return read_uea(path, policy=policy).recordings


def _is_uea(look: Look) -> bool:
    return any(line.lower().startswith("@problemname") for line in look.lines[:50])


def _tum(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.tum import read_tum

    return [read_tum(path, policy)]


def _is_tum(look: Look) -> bool:
    return look.numbers() == 8 and "," not in look.lines[0]


def _nuscenes(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.nuscenes import Infos

    file = path if path.is_file() else sorted(path.glob("*.pkl"))[0]
    infos = Infos(file)
    return [infos.recording(sample, policy) for sample in range(len(infos))]


def _is_nuscenes(look: Look) -> bool:
    if look.has("*.pkl") and (look.has("*.bin") or look.has("samples")):
        return True
    return not look.is_folder and (look.path.suffix == ".pkl" and look.head[:1] == b"\x80")


FORMATS = (
    Format("euroc", "EuRoC: a folder with mav0/imu0/data.csv, or loose tables with its header", _is_euroc, _euroc),
    Format(
        "gtsam_ins",
        "GTSAM's KITTI drive: a folder with *Imu*, *Gps* and *metadata* text files",
        lambda look: look.has("*Imu*.txt*", "*Gps*.txt*", "*metadata*.txt*"),
        _gtsam,
    ),
    Format("broad", "a BROAD trial: a .mat file of MATLAB", _is_mat, _broad),
    Format("cmapss", "C-MAPSS: train_FD001.txt and the like, or their folder", _is_cmapss, _cmapss),
    Format("uea", "a UEA/UCR .ts file: lines that begin with @problemName ...", _is_uea, _uea),
    Format(
        "nab",
        "a NAB series: a table with the header timestamp,value",
        lambda look: look.header == "timestamp,value",
        _nab,
    ),
    Format(
        "nuscenes",
        "nuScenes: an infos .pkl of mmdetection3d, or a folder with one and .bin sweeps",
        _is_nuscenes,
        _nuscenes,
    ),
    Format("tum", "a TUM trajectory: eight numbers a line, parted by blanks", _is_tum, _tum),
)
