"""What can be wrong with a bundle, by name: every message says what was found and what to do."""

from __future__ import annotations


class BundleError(ValueError):
    """A bundle that cannot be used."""


class BundleMissingError(BundleError):
    """There is no bundle, or a file of it is missing."""


class BundleDamagedError(BundleError):
    """A file is not what was exported: truncated, changed, or its JSON broken."""


class BundleForeignError(BundleError):
    """A bundle of another layout or kind."""


class BundleUnsafeError(BundleError):
    """A file that a bundle must not hold: a link, a path out of the folder, one larger than allowed."""


class ExportError(BundleError):
    """An export whose numbers are not the model's; nothing was written."""
