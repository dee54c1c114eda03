"""What a run leaves in a folder for `mambats report`: written while it runs, read back also where it was killed."""

from mambats.streaming.log.latency import Latency
from mambats.streaming.log.reader import Log, read_counters, read_log
from mambats.streaming.log.writer import RunLog, RunLogError, unaccounted

__all__ = ["Latency", "Log", "RunLog", "RunLogError", "read_counters", "read_log", "unaccounted"]
