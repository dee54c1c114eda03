"""Forecasts, states and tracks from long time series and sensor streams, with state-space (Mamba) encoders.

Importing this package loads nothing but the version. Users import the rooms they need: `mambats.encoders`,
`mambats.forecast`, `mambats.streaming` and so on.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
