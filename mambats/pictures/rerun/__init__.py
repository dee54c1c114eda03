"""Rerun, in one room since its interface moves every release: what a stream or a tracker does, on a time line.

Written for rerun-sdk 0.41. Nothing of Rerun is imported before a `StreamView` is made. A recording (.rrd) is opened
with `rerun FILE.rrd`; live, the viewer is started or connected to on this machine.
"""

from mambats.pictures.rerun.view import StreamView

__all__ = ["StreamView"]
