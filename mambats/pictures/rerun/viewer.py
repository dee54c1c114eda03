"""A viewer of our own on this machine, which listens to this machine alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

#: Whoever reaches a viewer's port may write into it. Rerun's own `spawn` binds every interface of the machine.
LOOPBACK = "127.0.0.1"
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")


def start_viewer(headless: bool = False, seconds: float = 30.0) -> tuple[subprocess.Popen[bytes], str]:
    """Start Rerun's viewer on a free port of the loopback interface; it stays when this process ends.

    Args:
        headless: Without a window, for tests.
        seconds: To wait until it listens.

    Returns:
        Its process, and the address to connect to.

    Raises:
        ValueError: If there is no display for a window, or the viewer does not start.
    """
    if not headless and sys.platform == "linux" and not any(os.environ.get(name) for name in _DISPLAYS):
        raise ValueError(
            "live: there is no display here, so no viewer can open. Give FILE.rrd, or live:URL of a viewer elsewhere."
        )
    port = _free_port()
    words = [_program(), "--bind", LOOPBACK, "--port", str(port), "--expect-data-soon"]
    process = subprocess.Popen(
        [*words, *(["--headless"] if headless else [])], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "RERUN_APP_ONLY": "true"}, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + seconds
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise ValueError(
                f"live: the viewer did not start within {seconds:g} s (code {process.poll()}). Try `rerun` by itself, "
                "or give FILE.rrd."
            )
        time.sleep(0.05)
    return process, f"rerun+http://{LOOPBACK}:{port}/proxy"


def _program() -> str:
    """Return the viewer's own program: the script of that name is Python, whose child outlives it."""
    found = importlib.util.find_spec("rerun_cli")
    folder = Path(found.origin).parent if found and found.origin else Path()
    for name in ("Rerun.app/Contents/MacOS/Rerun", "rerun", "rerun.exe"):
        if found and (folder / name).is_file():
            return str(folder / name)
    program = shutil.which("rerun")
    if program is None:
        raise ValueError("live: there is no program `rerun`: pip install 'mambats[robot]', or give FILE.rrd.")
    return program


def _free_port() -> int:
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        return int(held.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        trial.settimeout(1.0)
        return trial.connect_ex((LOOPBACK, port)) == 0
