"""`mambats data`: look at recordings, and convert them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from mambats.command.door import UsageError

#: As mambats.command.data_convert.TARGETS, which is not imported for --help.
TARGETS = ("recording", "mcap", "csv", "tum", "kitti")


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.removeprefix('mambats ')}: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `data info` or `data convert`."""
    given = _parser().parse_args(words)
    if given.task == "info":
        from mambats.command.data_info import show_info

        show_info(given.path, strict=given.strict, as_json=given.json, most=given.most)
    else:
        from mambats.command.data_convert import convert

        names = dict(_pair(text) for text in given.rename)
        convert(given.path, given.out, given.to, repair=given.repair, overwrite=given.overwrite, names=names)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(prog="mambats data", description="Look at recordings of any known format, and convert them.")
    tasks = parser.add_subparsers(dest="task", required=True, parser_class=_Arguments)
    info = tasks.add_parser("info", help="streams, rates, gaps, overlap, ranges, frames, and what had to be repaired")
    info.add_argument("path", type=Path, help="file or folder: a bag, MCAP, EuRoC, KITTI, a table, ...")
    info.add_argument("--json", action="store_true", help="print JSON, all recordings")
    info.add_argument("--strict", action="store_true", help="refuse faults instead of repairing and listing them")
    info.add_argument("--most", type=int, default=3, help="recordings to print in full (default 3)")
    made = tasks.add_parser("convert", help="write another format")
    made.add_argument("path", type=Path, help="file or folder of any known format")
    made.add_argument("out", type=Path, help="file or folder to write")
    made.add_argument("--to", choices=TARGETS, help="format; by default what the ending of OUT stands for")
    made.add_argument("--repair", action="store_true", help="repair faults where that can be done, and list them")
    made.add_argument("--overwrite", action="store_true", help="replace what is there")
    made.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help="names of streams, /imu/data=imu")
    return parser


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise UsageError(f"data convert: --rename takes OLD=NEW, was given {text!r}.")
    return old, new
