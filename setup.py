"""Put the recipes into the wheel; everything else is declared in pyproject.toml.

The recipes live in `recipes/` at the root, where people edit them. A wheel has no root, so they are copied to
`mambats/recipes/` while it is built. Editable and uninstalled use read the folder at the root.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithRecipes(build_py):
    """Copy every recipe beside the built package."""

    def run(self) -> None:
        """Build, then copy; an editable install has nothing to copy."""
        super().run()
        if self.editable_mode:
            return
        for recipe in sorted((ROOT / "recipes").rglob("*.yaml")):
            target = Path(self.build_lib) / "mambats" / recipe.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(recipe, target)


setup(cmdclass={"build_py": BuildWithRecipes})
