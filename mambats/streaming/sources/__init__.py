"""Where measurements come from: one kind of source a file. Each yields packets, or says what was wrong with a row."""

from mambats.streaming.sources.columns import Columns, find_columns
from mambats.streaming.sources.lines import Line, read_lines
from mambats.streaming.sources.opener import SCHEMES, Source, SourceOptions, open_source
from mambats.streaming.sources.rows import RowSource

__all__ = [
    "SCHEMES",
    "Columns",
    "Line",
    "RowSource",
    "Source",
    "SourceOptions",
    "find_columns",
    "open_source",
    "read_lines",
]
