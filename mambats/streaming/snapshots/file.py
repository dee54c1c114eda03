"""A stream at one moment, as one file that is whole or refused.

The file is a plain safetensors file; its metadata holds the facts as JSON and the sha256 of the file itself, computed
with 64 zeros in the sum's place. (Of 300 single flipped bits safetensors alone noticed 11.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mambats.streaming.errors import SnapshotDamagedError, SnapshotForeignError

LAYOUT = "2"  # of what `facts` and `arrays` hold: 2 has the late packets
_BLANK = "0" * 64


@dataclass(frozen=True)
class Snapshot:
    """What a stream was at one moment.

    Args:
        identity: Of the engine.
        policy: Digest of the policy.
        rows: Robots.
        facts: Plain values: counters, and each robot's time.
        arrays: The engine's state under `state.`, packets held, at the edge and late under their names.
    """

    identity: str
    policy: str
    rows: int
    facts: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as the content of a file."""
    metadata = {
        "format": "mambats.stream",
        "layout": LAYOUT,
        "identity": snapshot.identity,
        "policy": snapshot.policy,
        "rows": str(snapshot.rows),
        "facts": json.dumps(snapshot.facts, allow_nan=False),
        "sha256": _BLANK,
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in snapshot.arrays.items()}
    blank = save(arrays, metadata)
    field = f'"sha256":"{_BLANK}"'.encode()
    if blank.count(field) != 1:
        raise RuntimeError("the sum's place in a snapshot is not one: please report this.")
    return blank.replace(field, f'"sha256":"{hashlib.sha256(blank).hexdigest()}"'.encode())


def decode(content: bytes, name: str) -> Snapshot:
    """Return the snapshot in a file's content.

    Args:
        content: All of it.
        name: Of the file, for messages.

    Raises:
        SnapshotDamagedError: If it is not what was written.
        SnapshotForeignError: If it is whole but of another layout.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        told = metadata["sha256"]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise SnapshotDamagedError(f"{name}: its header cannot be read: it is torn or no snapshot.") from error
    blank = content.replace(f'"sha256":"{told}"'.encode(), f'"sha256":"{_BLANK}"'.encode(), 1)
    found = hashlib.sha256(blank).hexdigest()
    if found != told:
        raise SnapshotDamagedError(f"{name}: has sha256 {found[:12]}..., it says {str(told)[:12]}...: torn or changed.")
    if metadata.get("format") != "mambats.stream" or metadata.get("layout") != LAYOUT:
        raise SnapshotForeignError(f"{name}: has layout {metadata.get('layout')!r}, this version reads {LAYOUT!r}.")
    try:
        facts, rows = json.loads(metadata["facts"]), int(metadata["rows"])
        return Snapshot(metadata["identity"], metadata["policy"], rows, facts, load(content))
    except (SafetensorError, ValueError, LookupError) as error:
        raise SnapshotForeignError(f"{name}: is whole but no snapshot ({error}).") from error
