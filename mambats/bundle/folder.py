"""Files of a bundle, verified: each is read once, bounded, compared with the manifest, and handed on as bytes.

The manifest lists every file with its size and sha256 and carries a sum of itself, so that any changed or missing byte
is found. It says that the bundle is whole, not who made it: take bundles from where you would take code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mambats import __version__
from mambats.bundle.errors import BundleDamagedError, BundleForeignError, BundleMissingError, BundleUnsafeError
from mambats.bundle.layout import FORMAT, LIMITS, MANIFEST, NEEDED

_NAME = re.compile(r"[a-z]+(\.[a-z]+)?")
_SUM = re.compile(r"[0-9a-f]{64}")


def read_files(folder: str | Path, names: tuple[str, ...] | None = None) -> dict[str, bytes]:
    """Verify a bundle and return the content of its files.

    Args:
        folder: The bundle.
        names: Files to return; the manifest is checked in any case, other files are left alone. None: all of them.

    Returns:
        Content by name, without the manifest.

    Raises:
        BundleMissingError: If the folder or a file is not there.
        BundleUnsafeError: If a file is a link, no regular file, too large, or named out of the folder.
        BundleDamagedError: If content and manifest disagree.
        BundleForeignError: If another layout was written.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BundleMissingError(f"{root}: there is no such bundle. Give the folder that `mambats export` wrote.")
    listed = _manifest(root)
    wanted = tuple(listed) if names is None else names
    missing = [name for name in (*NEEDED, *wanted) if name not in listed]
    if missing:
        raise BundleMissingError(
            f"{root}: {', '.join(dict.fromkeys(missing))} is not in the bundle, only {', '.join(listed)}. Export again."
        )
    return {name: _verified(root, name, listed[name]) for name in wanted}


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of files by name."""
    listed = {name: {"bytes": len(body), "sha256": _sha256(body)} for name, body in sorted(files.items())}
    body: dict[str, Any] = {"format": FORMAT, "mambats": __version__, "files": listed}
    # No newline at its end: without it even the last byte cannot go missing unseen.
    return json.dumps({**body, "sha256": _seal(body)}, indent=2).encode()


def read_json(body: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        BundleDamagedError: If it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BundleDamagedError(f"{where}: is not JSON ({error}). Copy the bundle again.") from error
    if not isinstance(found, dict):
        raise BundleDamagedError(f"{where}: holds {type(found).__name__}, need an object. Copy the bundle again.")
    return cast("dict[str, Any]", found)


def _manifest(root: Path) -> dict[str, dict[str, Any]]:
    where = f"{root / MANIFEST}"
    found = read_json(_read(root, MANIFEST), where)
    if found.get("format") != FORMAT:
        raise BundleForeignError(
            f"{where}: has layout {found.get('format')!r} (written by mambats {found.get('mambats', '?')!r}), this is "
            f"mambats {__version__} and reads layout {FORMAT}. Export again with this version, or install that one."
        )
    body = {name: value for name, value in found.items() if name != "sha256"}
    if found.get("sha256") != _seal(body):
        raise BundleDamagedError(f"{where}: does not match the sum that it carries: it was changed. Copy it again.")
    listed = body.get("files")
    if not isinstance(listed, dict):
        raise BundleDamagedError(f"{where}: lists no files. Export again.")
    for name, facts in cast("dict[str, Any]", listed).items():
        _check_entry(where, name, facts)
    return cast("dict[str, dict[str, Any]]", listed)


def _check_entry(where: str, name: str, facts: Any) -> None:
    if not _NAME.fullmatch(name) or name not in LIMITS or name == MANIFEST:
        raise BundleUnsafeError(
            f"{where}: lists {name!r}; a bundle holds {', '.join(LIMITS)} and nothing else. Do not use it."
        )
    right = isinstance(facts, dict) and set(cast("dict[str, Any]", facts)) == {"bytes", "sha256"}
    if not right or type(facts["bytes"]) is not int or not _SUM.fullmatch(str(facts["sha256"])):
        raise BundleDamagedError(f"{where}: of {name} need bytes and sha256, found {facts!r}. Export again.")


def _verified(root: Path, name: str, facts: Mapping[str, Any]) -> bytes:
    body = _read(root, name)
    if len(body) != facts["bytes"] or _sha256(body) != facts["sha256"]:
        raise BundleDamagedError(
            f"{root / name}: has {len(body)} bytes with sha256 {_sha256(body)[:12]}..., the manifest says "
            f"{facts['bytes']} with {facts['sha256'][:12]}...: it is truncated or was changed. Copy the bundle again."
        )
    return body


def _read(root: Path, name: str) -> bytes:
    """Read a regular file of bounded size that lies in the folder itself."""
    where = root / name
    try:
        # Not through a link, and not waiting for a pipe.
        handle = os.open(where, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise BundleMissingError(f"{where}: is missing. Copy the whole bundle again.") from None
    except OSError as error:
        if where.is_symlink():
            raise BundleUnsafeError(f"{where}: is a link; a bundle holds plain files. Copy the file itself.") from error
        raise
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise BundleUnsafeError(f"{where}: is not a regular file; a bundle holds plain files. Do not use it.")
        if state.st_size > LIMITS[name]:
            raise BundleUnsafeError(
                f"{where}: has {state.st_size} bytes, at most {LIMITS[name]} are read. Do not use it."
            )
        return file.read(LIMITS[name])


def _seal(body: Mapping[str, Any]) -> str:
    return _sha256(json.dumps(body, sort_keys=True).encode())


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
