"""No class that a recipe may name takes a function or an argument of any type: jsonargparse would call or import it."""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import mambats
import mambats_datasets

#: An entry of a table in the code, which no slot of a recipe has the type of; a frame, which text cannot give.
EXEMPT = {"mambats.formats.opener.look.Format", "mambats.data.frame.Frame"}
#: `Any` by itself or in a union; `Carried[Any]` is a stated type.
CALLED = re.compile(r"\bCallable\b|(^|\| ?)(typing\.)?Any\b")


def exported():
    """Yield every class in the `__all__` of our packages, by its full name."""
    for package in (mambats, mambats_datasets):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.ispkg:
                continue
            module = importlib.import_module(found.name)
            for name in getattr(module, "__all__", ()):
                made = getattr(module, name, None)
                if inspect.isclass(made) and made.__module__.startswith("mambats"):
                    yield f"{made.__module__}.{made.__qualname__}", made


def settings(made):
    """Return the annotations of a constructor as they are written; a NamedTuple is a state, not a setting."""
    if dataclasses.is_dataclass(made):
        return {field.name: str(field.type) for field in dataclasses.fields(made) if field.init}
    written = made.__dict__.get("__init__")
    return {} if written is None else {k: str(v) for k, v in getattr(written, "__annotations__", {}).items()}


def test_no_setting_is_called_or_of_any_type():
    classes = dict(exported())
    assert len(classes) > 200  # the walk saw the packages
    found = {
        f"{name}({setting}: {kind})"
        for name, made in classes.items()
        if name not in EXEMPT
        for setting, kind in settings(made).items()
        if CALLED.search(kind)
    }
    assert not found


def test_the_rule_sees_what_it_must():
    assert all(CALLED.search(kind) for kind in ("Callable[[], int]", "Any", "int | Any", "typing.Any | None"))
    assert not any(CALLED.search(kind) for kind in ("Carried[Any] | ZeroPhase", "Mapping[str, float]", "AnyOf"))
