"""Classification: whole sequences into classes, offline or row by row.

`ClassifyTask`, `Augment` and the report need Lightning; they are loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mambats.classify.model import Classifier, ClassifierState
from mambats.classify.pool import AttentionPool, LastToken, MeanToken, Pool

if TYPE_CHECKING:
    from mambats.classify.report import ClassifyReport
    from mambats.classify.task import Augment, ClassifyTask

__all__ = [
    "AttentionPool",
    "Augment",
    "Classifier",
    "ClassifierState",
    "ClassifyReport",
    "ClassifyTask",
    "LastToken",
    "MeanToken",
    "Pool",
]

_LAZY = {"Augment": "task", "ClassifyTask": "task", "ClassifyReport": "report"}


def __getattr__(name: str) -> Any:
    """Load what needs Lightning only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
