"""Compiled kernels on disk: found by what went into them, written whole or not at all, checked before use."""

import contextlib
import hashlib
import os
import tempfile
import warnings
from pathlib import Path

VERSION = 1  # of the file's layout and of how the compiler is called
_MAGIC = f"mambats kernel {VERSION}".encode()
_warned: set[str] = set()


def key(*parts: str) -> str:
    """Give the name of what these parts are compiled to: source, options, architecture, compiler's version.

    Each part's length goes in too: moving text from one part to the next gives another name.
    """
    digest = hashlib.sha256(_MAGIC)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def folder() -> Path:
    """Say where the files lie: mambats/kernels in MAMBATS_CACHE, XDG_CACHE_HOME or ~/.cache, the first that is set."""
    root = os.environ.get("MAMBATS_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "mambats" / "kernels"


def read(name: str) -> bytes | None:
    """Give the binary of a key, or None if it is not there or not whole; the latter is said once."""
    try:
        path = folder() / f"{name}.cubin"
        held = path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        _warn("read", f"the cache of compiled kernels cannot be read, they are built anew: {error}")
        return None
    payload = _payload(held, name)
    if payload is None:
        _warn("damaged", f"{path} is damaged or not one of ours: it is built anew.")
    return payload


def write(name: str, payload: bytes) -> None:
    """Keep a binary under its key; a folder that cannot be written to costs only the cache and is said once.

    The file appears in one step under its name: who reads meanwhile, in another process too, sees none or a whole one.
    """
    made: str | None = None
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, made = tempfile.mkstemp(dir=folder(), prefix=name[:16], suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(_header(name, payload) + payload)
        Path(made).replace(folder() / f"{name}.cubin")
    except (OSError, RuntimeError) as error:
        _warn("write", f"compiled kernels cannot be kept, each process builds its own: {error}")
        if made is not None:
            with contextlib.suppress(OSError):
                Path(made).unlink()


def _header(name: str, payload: bytes) -> bytes:
    return b"\n".join([_MAGIC, name.encode(), hashlib.sha256(payload).hexdigest().encode(), b""])


def _payload(held: bytes, name: str) -> bytes | None:
    payload = held[len(_header(name, b"")) :]
    return payload if payload and held.startswith(_header(name, payload)) else None


def _warn(kind: str, message: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
