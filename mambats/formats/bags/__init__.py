"""Logs of robots: ROS 1 bags, ROS 2 bags and MCAP files."""

from mambats.formats.bags.reader import read_bag
from mambats.formats.bags.writer import write_mcap

__all__ = ["read_bag", "write_mcap"]
