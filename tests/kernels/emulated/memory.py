"""Which tensors a kernel was handed: the memory behind its pointers, as far as it goes, and what to call it."""

import ctypes
import gc
from collections.abc import Iterator

import torch


def _addresses(arguments: ctypes.Structure) -> dict[int, str]:
    """Every address in the structure that is not 0, and the names of its fields."""
    found: dict[int, str] = {}
    for name, kind, *_ in arguments._fields_:
        value = getattr(arguments, name)
        values = list(value) if isinstance(value, ctypes.Array) else [value]
        if kind is ctypes.c_void_p or getattr(kind, "_type_", None) is ctypes.c_void_p:
            for address in filter(None, values):
                found[address] = f"{found[address]}, {name}" if address in found else name
    return found


def _storages() -> Iterator[tuple[int, int]]:
    """First address and bytes of the memory of every tensor that Python can see, the youngest first."""
    for generation in (0, 1, 2):
        for thing in gc.get_objects(generation):
            if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.device.type == "cpu":
                try:
                    storage = thing.untyped_storage()
                    first, size = storage.data_ptr(), storage.nbytes()
                except (RuntimeError, NotImplementedError):  # sparse, or wrapped by a transformation: it has none
                    continue
                yield first, size


def regions(arguments: ctypes.Structure) -> tuple[list[tuple[int, int, str]], bool]:
    """The memory that the kernel may touch: (address, bytes, name), and whether all its addresses are explained.

    An address is explained by a live tensor whose storage it lies in; where one is not, bounds cannot be checked.
    """
    left, found = _addresses(arguments), dict[int, tuple[int, str]]()
    storages = _storages() if left else ()
    for first, size in storages:
        for address in [address for address in left if first <= address < first + size]:
            name = left.pop(address)
            found[first] = (size, f"{found[first][1]}, {name}" if first in found else name)
        if not left:
            break  # before the next one is looked for, among all that Python has
    return [(first, size, name) for first, (size, name) in found.items()], not left
