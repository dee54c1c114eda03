"""Recipes as data: objects written down as plain values, built again, and recipe files checked before use."""

from mambats.recipe.describe import (
    ALLOWED,
    RecipeError,
    Spec,
    class_path,
    complete,
    describe,
    find_class,
    first_difference,
    rebuild,
    with_setting,
)
from mambats.recipe.file import check_recipe, load_recipe

__all__ = [
    "ALLOWED",
    "RecipeError",
    "Spec",
    "check_recipe",
    "class_path",
    "complete",
    "describe",
    "find_class",
    "first_difference",
    "load_recipe",
    "rebuild",
    "with_setting",
]
