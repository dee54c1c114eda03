"""Read a pickle that holds data and nothing else: no class is looked up, no code can run, memory is bounded.

A pickle is a program. This reader runs it with a handful of names: numpy's arrays, scalars and dtypes (made by
functions of our own that check sizes), `_codecs.encode` for bytes of Python 2, and plain containers. Every other name
is refused before anything is imported.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import numpy as np

from mambats.formats.error import DataError

MOST = 256 * 2**20  # bytes of a file: 4,500 samples of nuScenes, of which one takes 59 KB
_KINDS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})|\?")


def read_pickle(path: Path | str, most: int = MOST) -> Any:
    """Read a pickle of plain values, containers and numpy numbers.

    Args:
        path: The file.
        most: Largest size in bytes; memory is a small multiple of it.

    Returns:
        What it holds: dict, list, tuple, set, str, bytes, numbers, None, numpy arrays and scalars.

    Raises:
        DataError: If the file is larger, is no whole pickle, or names anything but data; says what and where.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # a read of `most` bytes would take that memory for any file
            content = file.read(min(size, most) + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(content) > most:
        raise DataError(f"{path}: has more than {most:,} bytes. If you trust its size give a larger `most`.")
    reader = _Reader(io.BytesIO(content))
    try:
        return reader.load()
    except DataError as error:
        raise DataError(f"{path}, byte {reader.at}: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}, byte {reader.at}: is nested too deeply.") from error
    except Exception as error:  # a broken pickle fails in any way there is
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(f"{path}, byte {reader.at}: is not a whole pickle of data ({what}).") from error


class _Name:
    """A name of the allow list: can be called, and neither subclassed, instantiated otherwise nor changed."""

    __slots__ = ("_make", "_name")
    _name: str
    _make: Callable[..., Any]

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise DataError(f"sets {name!r} of {self._name}: a pickle of data does not.")

    def __setstate__(self, state: Any) -> NoReturn:
        raise DataError(f"changes {self._name}: a pickle of data does not.")


class _Kind:
    """A dtype of plain numbers or text, checked."""

    __slots__ = ("dtype",)

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or not _KINDS.fullmatch(text):
            raise DataError(f"has numbers of dtype {text!r}: only plain numbers and text are read.")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: object) -> None:
        """Take the byte order; fields, shapes and flags are refused."""
        order, *rest = cast(tuple[Any, ...], state)[1:5] if isinstance(state, tuple) else (None,)
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest):
            raise DataError(f"has a dtype with the state {state!r}: only plain numbers and text are read.")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """An array whose state is checked before numpy sees it."""

    def __setstate__(self, state: object, /) -> None:
        """Set shape, dtype and bytes."""
        _, shape, kind, fortran, content = cast(tuple[Any, ...], state)
        if not isinstance(kind, _Kind) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise DataError("has an array that is not of plain numbers or text.")
        sizes = cast(tuple[Any, ...], shape)
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise DataError(f"has an array of shape {sizes}.")
        count = 1
        for size in sizes:  # Python's integers: the product cannot overflow
            count *= size
        if count * kind.dtype.itemsize != len(content):
            raise DataError(f"has an array of shape {sizes} and {kind.dtype} in {len(content)} bytes.")
        state = (1, sizes, kind.dtype, bool(fortran), content)
        super().__setstate__(state)  # pyright: ignore[reportArgumentType]  # numpy's stub asks for its own bool


def _reconstruct(kind: object, shape: object, _: object) -> _Array:
    if not (isinstance(kind, _Name) and kind._name == "numpy.ndarray") or shape not in ((0,), (0, 0)):
        raise DataError(f"reconstructs an array of shape {shape!r}: numpy writes (0,).")
    return np.empty(0, np.int8).view(_Array)


def _scalar(kind: object, content: object = b"") -> Any:
    if not isinstance(kind, _Kind) or not isinstance(content, bytes) or len(content) != kind.dtype.itemsize:
        raise DataError("has a numpy scalar whose bytes are not of its dtype.")
    return np.frombuffer(content, kind.dtype)[0] if content else kind.dtype.type()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise DataError(f"encodes as {encoding!r}: only latin1 is known, which Python 2 and 3 exchange bytes in.")
    return text.encode("latin1")


def _from_buffer(content: object, kind: object, shape: object, order: object) -> _Array:
    if not isinstance(content, bytes | bytearray) or order not in ("C", "F"):
        raise DataError("has an array that is not of plain numbers or text.")
    made = np.empty(0, np.int8).view(_Array)
    made.__setstate__((1, shape, kind, order == "F", bytes(content)))
    return made


def _no_ndarray(*_: object) -> NoReturn:
    raise DataError("calls numpy.ndarray: numpy reconstructs arrays by their state.")


def _set(values: object = ()) -> set[Any]:
    if not isinstance(values, list | tuple):
        raise DataError(f"makes a set of a {type(values).__name__}.")
    items = list(cast(tuple[Any, ...], values))
    _check_keys(items)
    return set(items)


def _mapping(*pairs: object) -> dict[Any, Any]:
    if pairs and pairs != ([],):
        raise DataError("makes an OrderedDict of pairs: Python sets its items one by one.")
    return {}


def _bytes(*content: object) -> bytes:
    if content:
        raise DataError("makes bytes of something: older pickles make empty ones so, and no others.")
    return b""


def _check_keys(keys: list[Any]) -> None:
    """Refuse what hashes its parts: tuples that hold each other twice take 2^depth steps to hash."""
    for key in keys:
        if not isinstance(key, str | bytes | int | float | np.generic | None):
            raise DataError(f"has a {type(key).__name__} as a key: only text and numbers are read.")


def _allowed() -> dict[tuple[str, str], _Name]:
    made: dict[str, Callable[..., Any]] = {
        "numpy dtype": _Kind,
        "numpy ndarray": _no_ndarray,
        "_codecs encode": _encode,
        "collections OrderedDict": _mapping,
    }
    for home in ("builtins", "__builtin__"):
        made |= {f"{home} set": _set, f"{home} frozenset": _set, f"{home} bytes": _bytes}
    for core in ("numpy.core", "numpy._core"):
        made |= {f"{core}.multiarray scalar": _scalar, f"{core}.multiarray _reconstruct": _reconstruct}
        made[f"{core}.numeric _frombuffer"] = _from_buffer
    return {(name.split()[0], name.split()[1]): _Name(name.replace(" ", "."), make) for name, make in made.items()}


def _guarded(code: bytes, keys: slice) -> dict[int, Any]:
    """Return an opcode that looks at the keys on the stack before it does what it does."""
    load = cast(Callable[[Any], None], _DISPATCH[code[0]])

    def guarded(reader: Any) -> None:
        _check_keys(reader.stack[keys])
        load(reader)

    return {code[0]: guarded}


def _load_bytearray(reader: Any) -> None:
    """Read before making: Python's own makes as many bytes as the file says it has."""
    [size] = struct.unpack("<Q", reader.read(8))
    content = reader.read(min(size, MOST_BYTES))
    if len(content) != size:
        raise DataError(f"has a bytearray of {size} bytes and ends before.")
    reader.append(bytearray(content))


_DISPATCH: dict[int, Any] = pickle._Unpickler.dispatch  # pyright: ignore[reportAttributeAccessIssue]
MOST_BYTES = 2**40


# Python's own unpickler, not the one in C: that one lets a file of ten bytes ask for 64 GB (LONG_BINPUT with a high
# index), and it is fast enough: see bench_formats.py.
class _Reader(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue, reportUntypedBaseClass]
    dispatch: ClassVar[dict[int, Any]] = {
        **_DISPATCH,
        **_guarded(pickle.SETITEM, slice(-2, -1)),
        **_guarded(pickle.SETITEMS, slice(None, None, 2)),
        **_guarded(pickle.DICT, slice(None, None, 2)),
        **_guarded(pickle.ADDITEMS, slice(None)),
        **_guarded(pickle.FROZENSET, slice(None)),
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._source = file
        self._names = _allowed()

    @property
    def at(self) -> int:
        return self._source.tell()

    def find_class(self, module: str, name: str) -> _Name:
        found = self._names.get((module, name))
        if found is None:
            raise DataError(f"names {module}.{name}: refused, only plain values and numpy's arrays are data.")
        return found

    def persistent_load(self, pid: object) -> NoReturn:
        raise DataError(f"refers to {pid!r} outside of the file.")

    def get_extension(self, code: int) -> NoReturn:
        raise DataError(f"names the extension {code}: refused, it is not data.")
