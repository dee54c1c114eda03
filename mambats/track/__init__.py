"""Tracking: from boxes of single frames to identities with calibrated states."""

from mambats.track.objects import Objects

__all__ = ["Objects"]
