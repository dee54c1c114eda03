"""Put the recipes and the native CPU library into the wheel; everything else is declared in pyproject.toml.

The recipes live in `recipes/` at the root, where people edit them. A wheel has no root, so they are copied to
`mambats/recipes/` while it is built. Editable and uninstalled use read the folder at the root.

The library is compiled where there is a C++ compiler. It knows nothing of Python, so a wheel that holds it fits every
Python of its platform; without a compiler the wheel is one for all platforms and runs on torch operations.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NATIVE = Path("mambats_kernels", "native")


class BuildWithRecipes(build_py):
    """Compile the native library, and copy every recipe beside the built package."""

    def run(self) -> None:
        """Build, then copy; an editable install has nothing to copy and takes the library in its own place."""
        super().run()
        source = ROOT / "kernels" / NATIVE
        problem = runpy.run_path(str(source / "build.py"))["build"](
            source if self.editable_mode else Path(self.build_lib).resolve() / NATIVE
        )
        if problem:
            self.warn(f"the native CPU library was not built, torch operations take its place: {problem}")
        if self.editable_mode:
            return
        for recipe in sorted((ROOT / "recipes").rglob("*.yaml")):
            target = Path(self.build_lib) / "mambats" / recipe.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(recipe, target)


class WheelOfPlatform(bdist_wheel):
    """A wheel for one platform if it holds a library, for any Python 3 either way."""

    def run(self) -> None:
        """Build first: only then is it known what the wheel will hold."""
        self.run_command("build")
        built = Path(self.get_finalized_command("build").build_lib) / NATIVE
        self.root_is_pure = not any(built.glob("*.so"))
        # Where packages are installed from hangs on this: a platform's wheel has its own folder for them.
        self.distribution.has_ext_modules = lambda: not self.root_is_pure
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Name no Python version: the library is loaded through ctypes."""
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


setup(cmdclass={"build_py": BuildWithRecipes, "bdist_wheel": WheelOfPlatform})
