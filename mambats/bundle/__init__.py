"""Bundles: a trained model as a folder of data that runs without torch, verified before every use.

`mambats.bundle.export` (torch) makes them, `read_bundle` and `check_bundle` need numpy and safetensors.
"""

from mambats.bundle.bundle import ROUTES, Bundle, Route, read_bundle
from mambats.bundle.errors import (
    BundleDamagedError,
    BundleError,
    BundleForeignError,
    BundleMissingError,
    BundleUnsafeError,
    ExportError,
)

__all__ = [
    "ROUTES",
    "Bundle",
    "BundleDamagedError",
    "BundleError",
    "BundleForeignError",
    "BundleMissingError",
    "BundleUnsafeError",
    "ExportError",
    "Route",
    "read_bundle",
]
