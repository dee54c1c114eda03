"""Where measurements come from: one kind of source a file. Each yields packets, or says what was wrong with a row."""

from mambats.streaming.sources.columns import Columns, find_columns
from mambats.streaming.sources.lines import Line, read_lines
from mambats.streaming.sources.rows import RowSource

__all__ = ["Columns", "Line", "RowSource", "find_columns", "read_lines"]
