"""Messages to write: one drafted byte for byte, copied, and its fields filled by numpy."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from mambats.formats.messages.layout import ARRAY, BASE, CODES, NAME, SEQUENCE, Definitions, Layouts, Table

#: Texts, and lengths of sequences, by dotted path; what is not named is empty.
Words = Mapping[str, str | int]


def draft(definitions: Definitions, name: str, words: Words, count: int = 1) -> Table:
    """Return messages in CDR as a structured array, shape (count,), all numbers 0; `tobytes()` are the messages.

    Args:
        definitions: Types by name.
        name: Type of the messages.
        words: Texts and lengths that they have.
        count: How many.
    """
    made = _Draft(definitions, words)
    made.fields_of(name, "")
    layout = Layouts(definitions, name, "cdr").walk(bytes(made.data))
    return np.frombuffer(bytearray(made.data) * count, layout.dtype)


class _Draft:
    """One message with the given texts and lengths, and zeros."""

    def __init__(self, definitions: Definitions, words: Words) -> None:
        self.definitions = definitions
        self.words = words
        self.data = bytearray(b"\0\1\0\0")  # plain CDR, little-endian

    def fields_of(self, name: str, path: str) -> None:
        for field, description in self.definitions[name][1]:
            self.field(description, path + field)

    def field(self, description: Any, path: str) -> None:
        kind, detail = int(description[0]), description[1]
        if kind == NAME:
            self.fields_of(detail, f"{path}.")
        elif kind == BASE and detail[0] == "string":
            text = str(self.words.get(path, "")).encode() + b"\0"
            self.number(len(text))
            self.data += text
        elif kind == BASE:
            self.zeros(detail[0], 1)
        elif kind in (ARRAY, SEQUENCE):
            inner, count = detail
            if kind == SEQUENCE:
                count = int(self.words.get(path, 0))
                self.number(count)
            if int(inner[0]) == BASE and inner[1][0] != "string":
                self.zeros(inner[1][0], count)
            else:
                for k in range(count):
                    self.field(inner, f"{path}.{k}")

    def number(self, value: int) -> None:
        self.zeros("uint32", 1)
        struct.pack_into("<I", self.data, len(self.data) - 4, value)

    def zeros(self, base: str, count: int) -> None:
        size = int(CODES[base][1])
        if count:
            self.data += bytes(-(len(self.data) - 4) % size + size * count)
