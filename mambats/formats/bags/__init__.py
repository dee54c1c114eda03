"""Logs of robots: ROS 1 bags, ROS 2 bags and MCAP files."""

from mambats.formats.bags.reader import read_bag

__all__ = ["read_bag"]
