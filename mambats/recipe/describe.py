"""Recipes as data: read the constructor arguments back from an object, and build the object again from them.

Every configurable class of ours stores each constructor argument unchanged under the argument's name (the
convention of scikit-learn's `BaseEstimator.get_params`), so a model, a source or a task can be written down as
`{"class_path": ..., "init_args": {...}}`: plain values that fit into YAML, JSON and a checkpoint read with
`weights_only=True`. Nothing is pickled, and only classes of allowed packages are built.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias, cast

Plain: TypeAlias = "bool | int | float | str | list[Plain] | tuple[Plain, ...] | dict[str, Plain] | None"
Spec: TypeAlias = "dict[str, Plain]"

#: Packages whose classes a recipe in a checkpoint may name.
ALLOWED = ("mambats.", "mambats_datasets.")


class RecipeError(ValueError):
    """A recipe that cannot be written down, read, or built."""


def describe(obj: object) -> Spec:
    """Write an object down as `{"class_path": ..., "init_args": {...}}`.

    Args:
        obj: An object of a class that stores each constructor argument under the argument's name.

    Returns:
        Plain values only: None, numbers, strings, lists, tuples, dicts and further such specs.

    Raises:
        RecipeError: If an argument is not stored, or its value is no plain value (a function, say).
    """
    return _describe(obj, type(obj).__name__)


def rebuild(spec: Mapping[str, Any], allowed: Sequence[str] = ALLOWED) -> Any:
    """Build the object that `describe` wrote down.

    Args:
        spec: `{"class_path": ..., "init_args": {...}}`, init_args may hold further specs.
        allowed: Prefixes a class path must start with, each ending in a dot.

    Returns:
        A new object with fresh parameters; load its tensors with `load_state_dict`.

    Raises:
        RecipeError: If a class is not of an allowed package, does not exist, or refuses its arguments.
    """
    return _rebuild(spec, tuple(allowed), "recipe")


def first_difference(old: object, new: object, where: str = "") -> str | None:
    """Say where two descriptions differ, or return None if they agree; lists and tuples count as equal."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            here = f"{where}.{key}" if where else str(key)
            if key not in old or key not in new:
                return f"{here} is {'absent' if key not in old else old[key]!r}, here {new.get(key, 'absent')!r}"
            if found := first_difference(old[key], new[key], here):
                return found
        return None
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        if len(old) != len(new):
            return f"{where} has {len(old)} entries, here {len(new)}"
        pairs = (first_difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(old, new, strict=True)))
        return next((found for found in pairs if found), None)
    return None if old == new else f"{where} is {old!r}, here {new!r}"


def class_path(cls: type) -> str:
    """Return the shortest dotted path that leads to a class, so that moving a file does not break a checkpoint."""
    parts = cls.__module__.split(".")
    for depth in range(1, len(parts)):
        module = sys.modules.get(".".join(parts[:depth]))
        if getattr(module, cls.__name__, None) is cls:
            return ".".join([*parts[:depth], cls.__name__])
    return f"{cls.__module__}.{cls.__qualname__}"


def _describe(value: object, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list):
        return [_describe(v, f"{where}[{i}]") for i, v in enumerate(cast("list[object]", value))]
    if type(value) is tuple:
        return tuple(_describe(v, f"{where}[{i}]") for i, v in enumerate(cast("tuple[object, ...]", value)))
    if isinstance(value, Mapping):
        return _describe_mapping(cast("Mapping[object, object]", value), where)
    if inspect.isroutine(value) or isinstance(value, type) or not type(value).__module__.startswith("mambats"):
        raise RecipeError(
            f"{where} is {value!r} ({type(value).__module__}.{type(value).__qualname__}): a recipe holds numbers, "
            "text, lists and objects of mambats only. Give a plain value, or leave the argument at its default."
        )
    return _describe_object(value, where)


def _describe_mapping(value: Mapping[object, object], where: str) -> Spec:
    if "class_path" in value or not all(isinstance(k, str) for k in value):
        raise RecipeError(f"{where} has keys {list(value)}: need text keys, none of them 'class_path'. Rename them.")
    return {str(k): _describe(v, f"{where}.{k}") for k, v in value.items()}


def _describe_object(value: object, where: str) -> Spec:
    cls = type(value)
    args: Spec = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(value, name):
            raise RecipeError(
                f"{where}: {cls.__name__} does not keep its argument {name!r}, so it cannot be written down. "
                f"Store it unchanged in the constructor: self.{name} = {name}."
            )
        args[name] = _describe(getattr(value, name), f"{where}.{name}")
    return {"class_path": class_path(cls), "init_args": args}


def _rebuild(value: Any, allowed: tuple[str, ...], where: str) -> Any:
    if isinstance(value, list | tuple):
        parts = [_rebuild(v, allowed, f"{where}[{i}]") for i, v in enumerate(value)]
        return tuple(parts) if isinstance(value, tuple) else parts
    if not isinstance(value, Mapping):
        return value
    if "class_path" not in value:
        return {key: _rebuild(v, allowed, f"{where}.{key}") for key, v in value.items()}
    path, args = value["class_path"], value.get("init_args") or {}
    if set(value) - {"class_path", "init_args"} or not isinstance(path, str) or not isinstance(args, Mapping):
        raise RecipeError(f"{where} is {dict(value)}: need class_path (text) and init_args (a mapping), nothing else.")
    cls = find_class(path, allowed, where)
    built = {str(k): _rebuild(v, allowed, f"{where}.{k}") for k, v in args.items()}
    try:
        return cls(**built)
    except TypeError as error:
        raise RecipeError(
            f"{where}: {path} refuses its arguments: {error}. The recipe was written by another version of mambats; "
            "install that version or train again."
        ) from error


def complete(spec: Any, allowed: Sequence[str] = ALLOWED) -> Any:
    """Fill in arguments that a spec lacks because its class did not have them yet, with today's defaults.

    Args:
        spec: What `describe` wrote, perhaps with an older version.
        allowed: Prefixes of class paths.

    Raises:
        RecipeError: If a class is not of an allowed package or does not exist.
    """
    if isinstance(spec, list | tuple):
        return type(spec)(complete(v, allowed) for v in cast("Sequence[object]", spec))
    if not isinstance(spec, Mapping):
        return spec
    filled = {str(k): complete(v, allowed) for k, v in cast("Mapping[str, object]", spec).items()}
    if "class_path" in filled:
        cls = find_class(str(filled["class_path"]), allowed)
        missing = {
            name: _describe(parameter.default, name)
            for name, parameter in inspect.signature(cls).parameters.items()
            if parameter.default is not parameter.empty and name not in (filled.get("init_args") or {})
        }
        filled["init_args"] = {**(filled.get("init_args") or {}), **missing}
    return filled


def find_class(path: str, allowed: Sequence[str] = ALLOWED, where: str = "recipe") -> type:
    """Import a class by its dotted path, only from packages that are allowed.

    Args:
        path: Dotted path of a class.
        allowed: Prefixes, each ending in a dot; the path and the module the class was written in must have one.
        where: Place in the recipe, for the message.

    Raises:
        RecipeError: If the path is outside them, or there is no such class.
    """
    prefixes = tuple(allowed)
    if not path.startswith(prefixes):
        raise RecipeError(
            f"{where}: class_path {path!r} is not of an allowed package ({', '.join(prefixes)}). "
            "Nothing was imported. Use a class of these packages."
        )
    module_name, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), name, None)
    except ModuleNotFoundError as error:
        raise RecipeError(f"{where}: class_path {path!r}: {error}. Check the spelling or install the part.") from error
    # A module of ours also holds names it imported: those are not ours to build.
    if not isinstance(cls, type) or not f"{cls.__module__}.".startswith(prefixes):
        raise RecipeError(f"{where}: {path!r} names no class of {module_name}. Check the spelling.")
    return cls


def with_setting(spec: Spec, name: str, value: Plain) -> Spec:
    """Return a spec in which every object that takes the argument `name` is given `value`.

    Raises:
        RecipeError: If no object in the spec takes it.
    """
    changed, count = _with_setting(spec, name, value)
    if not count:
        raise RecipeError(f"no part of {spec.get('class_path')} takes an argument {name!r}: leave it out.")
    return changed


def _with_setting(part: Any, name: str, value: Plain) -> tuple[Any, int]:
    if isinstance(part, list | tuple):
        pairs = [_with_setting(v, name, value) for v in cast("Sequence[object]", part)]
        return type(part)(v for v, _ in pairs), sum(n for _, n in pairs)
    if not isinstance(part, Mapping):
        return part, 0
    pairs = {k: _with_setting(v, name, value) for k, v in cast("Mapping[str, object]", part).items()}
    changed, count = {k: v for k, (v, _) in pairs.items()}, sum(n for _, n in pairs.values())
    args = changed.get("init_args")
    if isinstance(args, Mapping) and name in args:
        return {**changed, "init_args": {**cast("Spec", args), name: value}}, count + 1
    return changed, count
