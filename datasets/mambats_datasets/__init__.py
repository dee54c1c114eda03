"""Corpora: one file each, with its source record and its splits."""
