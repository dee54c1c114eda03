"""Bytes of a text file to the rows it holds, each with its line number."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.repair import REFUSE, Policy

Index = npt.NDArray[np.int64]
_ADVICE = "Get the file again, or read what is there with Policy(torn='repair')."


def read_bytes(path: Path, policy: Policy = REFUSE) -> tuple[bytes, bool]:
    """Read a plain or gzipped file (`.gz`), and tell whether the archive was cut off.

    Raises:
        DataError: If it is missing, empty, damaged, or cut off and the policy refuses that.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a file that is there.")
    packed = path.read_bytes()
    if not packed:
        raise DataError(f"{path}: the file is empty. Get it again.")
    if path.suffix != ".gz":
        return packed, False
    parts, rest = list[bytes](), packed
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(rest))
        except zlib.error as error:
            raise DataError(f"{path}: not a readable gzip file ({error}). Get it again.") from error
        if not member.eof:
            if policy.torn == "refuse":
                raise DataError(f"{path}: the archive is cut off after {len(packed)} bytes. {_ADVICE}")
            return b"".join(parts), True
        rest = member.unused_data
    return b"".join(parts), False


@dataclass(frozen=True)
class Lines:
    """Where rows start and end in the bytes, and their numbers in the file."""

    starts: Index
    ends: Index
    numbers: Index

    def behind(self, count: int) -> Lines:
        """Return all but the first."""
        return Lines(self.starts[count:], self.ends[count:], self.numbers[count:])

    def before(self, count: int) -> Lines:
        """Return the first."""
        return Lines(self.starts[:count], self.ends[:count], self.numbers[:count])


def find_lines(data: bytes) -> Lines:
    """Find every line that is neither empty nor a comment."""
    letters = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1))
    rows = np.flatnonzero(ends > starts)
    rows = rows[letters[starts[rows]] != ord("#")]
    return Lines(starts[rows], ends[rows], rows + 1)


def _counts(data: bytes, lines: Lines, separator: str) -> Index:
    found = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(separator))
    return np.searchsorted(found, lines.ends) - np.searchsorted(found, lines.starts) + 1


def whole_lines(
    data: bytes, lines: Lines, separator: str, columns: int, path: Path, policy: Policy
) -> tuple[Lines, tuple[str, ...]]:
    """Refuse lines of another width; leave out a last one that is cut off where the policy says so."""
    counts = _counts(data, lines, separator)
    wanted = columns or int(counts[0])
    wrong = np.flatnonzero(counts != wanted)
    last = len(counts) - 1
    if not data.endswith(b"\n") and wrong.tolist() == [last] and counts[last] < wanted:
        number = int(lines.numbers[last])
        if policy.torn == "refuse":
            raise DataError(f"{path}, line {number}: cut off after {counts[last]} of {wanted} columns. {_ADVICE}")
        return lines.before(last), (f"{path}: 1 rows cut off at the end of the file, dropped, line {number}",)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{path}, line {int(lines.numbers[row])}: {counts[row]} columns, the first line has {wanted} "
            f"({wrong.size} such lines). Correct or remove them."
        )
    return lines, ()


def body_of(data: bytes, lines: Lines) -> bytes:
    """Return the rows alone, without quotation marks."""
    if int(lines.numbers[-1] - lines.numbers[0]) + 1 == len(lines.numbers):
        body = data[lines.starts[0] : lines.ends[-1]]
    else:
        pairs = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
        body = b"\n".join(data[start:end] for start, end in pairs)
    return body.replace(b'"', b"") if b'"' in body else body


def single_blanks(data: bytes) -> bytes:
    """Make every run of blanks and tabs one blank, and none at the ends of lines."""
    if b"\t" in data:
        data = data.translate(bytes.maketrans(b"\t", b" "))
    letters = np.frombuffer(data, np.uint8)
    gap = (letters == ord(" ")) | (letters == ord("\n"))
    if not (gap[1:] & gap[:-1]).any():  # a search in the bytes for two blanks takes five times as long
        return data.strip(b" ")
    for found, better in ((b"  ", b" "), (b" \n", b"\n"), (b"\n ", b"\n")):
        while found in data:
            data = data.replace(found, better)
    return data.strip(b" ")
