"""The house: floors, workshops, public faces, sizes and names.

To accept a public face that changed on purpose: `python tests/test_house.py > tests/public_faces.json`.
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "mambats": ROOT / "mambats",
    "mambats_kernels": ROOT / "kernels" / "mambats_kernels",
    "mambats_datasets": ROOT / "datasets" / "mambats_datasets",
}
FILE_LINES, FUNCTION_LINES, CONSTRUCTOR_ARGUMENTS = 400, 60, 8
FACES = ROOT / "tests" / "public_faces.json"

# Where alone a package from outside is imported (`*` crosses folders). What is not named here is free.
OUTSIDE = {
    "triton": ["kernels/mambats_kernels/*/kernel*.py"],
    "polars": ["mambats/data/*", "mambats/formats/*", "datasets/mambats_datasets/*"],
    "mlflow": ["mambats/experiment.py"],
    "jsonargparse": ["mambats/command/*", "mambats/cli.py"],
}
KEYWORDS_ALLOWED = {
    # Signatures of Lightning and jsonargparse.
    "mambats/command/parser.py:__init__",
    "mambats/command/metrics_file.py:log_hyperparams",
    "mambats/command/recipe.py:instantiate_trainer",
    "mambats/experiment.py:log_hyperparams",
    # Tensors by the names that the message will use; nothing is passed through.
    "kernels/mambats_kernels/checks.py:needs_device",
    "kernels/mambats_kernels/checks.py:needs_floats",
    "kernels/mambats_kernels/checks.py:needs_numbers",
}


def sources(*folders: Path) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders or tuple(PACKAGES.values()):
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: the docstring has as many lines as its shapes and units need."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= first.end_lineno - first.lineno + 1
    return lines


def faces() -> dict[str, list[str]]:
    """What each room hands on: `__all__` of every package, and of every module at the top of one."""
    found = {}
    for package, folder in PACKAGES.items():
        for path, tree in sources(folder):
            if path.parent != folder and path.name != "__init__.py":
                continue
            for node in tree.body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    parts = path.relative_to(folder).with_suffix("").parts
                    module = ".".join([package, *(part for part in parts if part != "__init__")])
                    found[module] = sorted(ast.literal_eval(node.value))
    return dict(sorted(found.items()))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of every absolute import, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository here, so nothing is tracked")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_imports_go_downward_only(capsys):
    from importlinter.cli import lint_imports

    failed = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert not failed, capsys.readouterr().out


def test_every_room_stands_on_a_floor():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract for contract in contracts if contract["id"] == "floors")["layers"]
    known = {room for floor in floors for room in re.findall(r"mambats\.(\w+)", floor)}
    rooms = {
        path.stem for path in PACKAGES["mambats"].iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert rooms - {"__init__"} <= known, "name the new room in [tool.importlinter] and in docs/architecture.md"


def test_outside_packages_are_imported_where_they_belong():
    wrong = [
        f"{name_of(path)} imports {name}"
        for path, tree in sources()
        for name in sorted(set(imported(tree)) & OUTSIDE.keys())
        if not any(fnmatch(name_of(path), pattern) for pattern in OUTSIDE[name])
    ]
    assert not wrong


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {re.split(r"[^\w-]", line)[0].lower().replace("-", "_") for line in lines}
    needed = {name for _, tree in sources() for name in imported(tree)} - sys.stdlib_module_names - PACKAGES.keys()
    names = {"sklearn": "scikit_learn", "yaml": "pyyaml", "PIL": "pillow", "mcap_ros2": "mcap_ros2_support"}
    names |= {"paho": "paho_mqtt", "zenoh": "eclipse_zenoh"}
    assert {names.get(name, name) for name in needed} <= declared, "name it in an extra of pyproject.toml"


def test_task_families_never_import_encoders():
    families = ["forecast", "classify", "regress", "anomaly", "odometry", "track"]
    rooms = [ROOT / "mambats" / family for family in families]
    paths = [ROOT / "mambats/task.py", *(path for room in rooms for path in room.rglob("*.py"))]
    wrong = [
        name_of(path)
        for path in paths
        if path.is_file() and re.search(r"import.*\bencoders\b|\bmambats\.encoders\b.*import", path.read_text())
    ]
    assert not wrong, "the recipe joins a task and an encoder; they meet in mambats.protocols"


@pytest.mark.parametrize("workshop", ["kernels", "datasets"])
def test_workshops_are_no_packages(workshop):
    assert not (ROOT / workshop / "__init__.py").exists(), f"PyPI's own `{workshop}` would be hidden"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package):
    assert (PACKAGES[package] / "py.typed").is_file()


def test_public_faces_are_pinned():
    pinned, found = json.loads(FACES.read_text(encoding="utf-8")), faces()
    changed = {module for module in pinned.keys() | found.keys() if pinned.get(module) != found.get(module)}
    assert not changed, "if meant: python tests/test_house.py > tests/public_faces.json, and a line in CHANGELOG.md"


def test_kernel_families_are_complete():
    kernels = PACKAGES["mambats_kernels"]
    families = [
        path
        for path in kernels.iterdir()
        if path.name not in ("native", "cuda", "selective_step") and any(path.glob("*.py"))
    ]
    assert families, "no kernel family found: did the folder move?"
    missing = [
        f"{name_of(family)}/{file}"
        for family in sorted(families)
        for file in ("__init__.py", "reference.py", "op.py", "cases.py")
        if not (family / file).is_file()
    ]
    assert not missing


def test_nothing_is_named_after_nothing():
    bad = re.compile(r"^(utils?|helpers?|common|misc|manager)$")
    wrong = [name_of(path) for path in tracked() if bad.match(path.stem) or any(bad.match(part) for part in path.parts)]
    assert not wrong, "name a file after what it holds"


def test_files_and_functions_stay_readable():
    wrong = []
    for path, tree in sources(*PACKAGES.values(), ROOT / "tests"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        wrong += [f"{name_of(path)} has {lines} lines"] if lines > FILE_LINES else []
        wrong += [
            f"{name_of(path)}:{function.lineno} {function.name} has {length(function)} lines"
            for function in functions(tree)
            if length(function) > FUNCTION_LINES
        ]
    assert not wrong, f"a file stops at {FILE_LINES} lines, a function at {FUNCTION_LINES}"


def test_signatures_say_what_they_take():
    wrong = []
    for path, tree in sources():
        for function in functions(tree):
            place = f"{name_of(path)}:{function.name}"
            public = function.name == "__init__" or not function.name.startswith("_")
            if function.args.kwarg and public and place not in KEYWORDS_ALLOWED:
                wrong.append(f"{place} takes **{function.args.kwarg.arg}")
            count = len(function.args.posonlyargs + function.args.args + function.args.kwonlyargs) - 1
            if function.name == "__init__" and count > CONSTRUCTOR_ARGUMENTS:
                wrong.append(f"{place}:{function.lineno} takes {count} arguments")
    assert not wrong, f"name every argument; a constructor takes at most {CONSTRUCTOR_ARGUMENTS}"


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (["mambats"], ["torch", "numpy", "lightning", "polars", "mlflow"]),
        (["mambats.cli"], ["torch", "lightning", "polars", "mlflow", "matplotlib"]),
        (["mambats.streaming"], ["torch", "lightning", "polars", "mlflow"]),
        (["mambats.data", "mambats.formats", "mambats_datasets"], ["polars", "mlflow", "jsonargparse"]),
        (
            ["mambats_kernels", "mambats.mixers", "mambats.encoders", "mambats.checkpoint"],
            ["lightning", "polars", "mlflow", "jsonargparse", "triton"],
        ),
        # Heads and tasks train on arrays, where no table is read.
        (
            ["mambats.track", "mambats.track.centre", "mambats.track.learned", "mambats.track.forecast"],
            ["polars", "mlflow", "jsonargparse"],
        ),
        (["mambats.odometry", "mambats.forecast", "mambats.anomaly"], ["polars", "mlflow", "jsonargparse"]),
    ],
    ids=lambda names: names[0],
)
def test_imports_stay_light(modules, unwanted):
    for module in modules:
        package, _, room = module.partition(".")
        home = PACKAGES[package] / room.replace(".", "/")
        if not (home.with_suffix(".py").is_file() or (home / "__init__.py").is_file()):
            pytest.skip(f"{module} is not built yet")
    paths = [str(folder.parent) for folder in PACKAGES.values()]
    fresh = f"""import sys; sys.path[:0] = {paths!r}
import {", ".join(modules)}
print([name for name in {unwanted!r} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True, cwd=ROOT.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", f"{modules} load more than they need"


def test_no_machine_is_named():
    """Paths and hosts of one machine help nobody else; .ci/run alone may look beside the clone."""
    machine = re.compile(r"(?<![\w.}$)])/(?:work|home|root|Users|opt|mnt)/\w|\.\./shared|(?:files\.)?pythonhosted\.org")
    wrong = []
    for path in tracked():
        if path in (ROOT / ".ci/run", Path(__file__)) or path.suffix in {".png", ".parquet", ".npz", ".bin", ".gz"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            wrong += [f"{name_of(path)}:{number}: {line.strip()[:80]}"] if machine.search(line) else []
    assert not wrong


@pytest.mark.slow
def test_wheel_carries_recipes_types_and_three_packages(tmp_path):
    copy = tmp_path / "copy"
    for path in tracked():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    wanted = {f"{package}/{file}" for package in PACKAGES for file in ("__init__.py", "py.typed")}
    wanted |= {
        f"mambats/{name_of(path)}"
        for path in tracked()
        if path.suffix == ".yaml" and (ROOT / "recipes") in path.parents
    }
    assert wanted <= held
    assert not [name for name in held if name.startswith(("kernels/", "datasets/", "tests/"))]


if __name__ == "__main__":
    print(json.dumps(faces(), indent=2))
