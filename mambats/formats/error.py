"""The one error of bad data: what was found, where, and what to do."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used as it is; the message names the file, column and row, and what to do."""
