"""Bytes to recordings and back: one file format a module.

Names are loaded when first used, so that `import mambats.formats` needs no polars.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.formats.error import DataError
    from mambats.formats.roles import Reading, Roles
    from mambats.formats.table import read_table

__all__ = ["DataError", "Reading", "Roles", "read_table"]

_HOMES = {"DataError": "error", "Reading": "roles", "Roles": "roles", "read_table": "table"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
