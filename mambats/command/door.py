"""The error door: what a user can mend is one message and exit code 2, a defect of ours is a traceback and 1."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

#: What a shell calls "ended by Ctrl-C".
INTERRUPTED = 130
# Errors of others that speak of the user's input: by name, so that the door imports nothing.
_INPUT_ERRORS = {"MisconfigurationException", "ArgumentError"}
# The disk is full, over quota, read-only, or a file may not grow.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class UsageError(ValueError):
    """A command line that asks for what is not there."""


def through(action: Callable[[], int]) -> int:
    """Run an action and turn what it raises into a message and an exit code.

    Set MAMBATS_TRACEBACK=1 to see where a message came from.
    """
    try:
        return action()
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone: not an error. Closing stdout again must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as leaving:
        return _leave(leaving)
    except Exception as error:
        if not is_users(error):
            traceback.print_exc()
            print("mambats: this is a defect of mambats; please report it with the lines above.", file=sys.stderr)
            return 1
        if os.environ.get("MAMBATS_TRACEBACK"):
            traceback.print_exc()
        print(f"mambats: {message(error)}", file=sys.stderr)
        return 2


def is_users(error: BaseException) -> bool:
    """Say whether an error speaks to the user: named by us, raised as ValueError by us, or about a file."""
    ours = any(cls.__module__.startswith("mambats") for cls in type(error).__mro__)
    if isinstance(error, ValueError) and ours:
        return True
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return True
    if isinstance(error, OSError) and error.errno in _DISK:
        return True
    if type(error) in (ValueError, ModuleNotFoundError):
        return _raised_by_us(error.__traceback__)
    return type(error).__name__ in _INPUT_ERRORS


def message(error: BaseException) -> str:
    """Return the words of an error; a bare system error names its file."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        todo = "Free some space; what was saved before is whole" if error.errno in _DISK else "Check the path"
        return f"{where}{error.strerror}. {todo}."
    return str(error)


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Say whether the innermost frame is code of ours: there a plain ValueError is a checked input."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("mambats")


def _interrupted() -> int:
    print("mambats: interrupted; what was saved before is whole.", file=sys.stderr)
    return INTERRUPTED


def _leave(leaving: SystemExit) -> int:
    # Lightning shuts down on Ctrl-C by itself and then leaves with code 1.
    if isinstance(leaving.__context__, KeyboardInterrupt):
        return _interrupted()
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    print(leaving.code, file=sys.stderr)
    return 2
