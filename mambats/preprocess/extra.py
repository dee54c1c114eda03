"""What a door says when a package that only some need is not installed."""

from __future__ import annotations

import importlib.util
import sys


def needs(package: str, extra: str) -> None:
    """Check that a package is there before it is imported.

    Raises:
        ModuleNotFoundError: If it is not; says which extra brings it.
    """
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"{package} is not installed: `pip install 'mambats[{extra}]'`.", name=package)
