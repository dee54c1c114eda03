"""Which dependencies may be installed: floors of SECURITY.md, releases known to be bad, licences, known weaknesses.

    python tests/audit.py [--online]

Without `--online` nothing is asked of anyone: pins, floors and licences are read from this repository and from the
packages installed beside it. With it, the package index that pip is set to is asked whether a release was withdrawn, of
the packages that pyproject.toml names; and pip-audit, where installed, for known weaknesses. What could not be looked
at is said as SKIPPED, never as right. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints" / "cpu-py311.txt"

#: Releases that carried someone else's code, or lose data: no range of ours may let one in.
BAD = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}

#: Words in a licence that let a package stand beside Apache-2.0 when it is imported and not copied.
PERMISSIVE = re.compile(
    r"apache|\bmit\b|mit-0|mit-cmu|\bbsd|0bsd|\bpsf|python software foundation|\bisc\b|mpl|mozilla|zlib|bsl-1.0|cc0|"
    r"public domain|unlicense|hpnd",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"\b(a|l)?gpl|gnu (affero|general|lesser)|non-?commercial|cc-by-nc|sspl|busl", re.IGNORECASE)

#: Read by hand where the metadata say nothing, or name a licence that only part of the package is under.
READ_BY_HAND = {
    "apsw": "any OSI licence, the reader's choice",
    "docutils": "public domain and BSD; GPL for an Emacs mode that is not in the wheel",
    "huey": "MIT",
    "skops": "MIT",
}


def pins(path: Path = PINS) -> dict[str, Version]:
    """Return pinned versions by canonical name."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): Version(version) for name, version in (x.split("==") for x in lines if x)}


def ranges() -> list[Requirement]:
    """Return what pyproject.toml asks for, core and extras, without the package itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    asked = [Requirement(line) for line in [*project["dependencies"], *(line for extra in extras for line in extra)]]
    return [one for one in asked if one.name != project["name"]]


def floors() -> dict[str, Version]:
    """Return the least versions of the table in SECURITY.md."""
    rows = re.findall(r"^\| ([\w.-]+) \| ([\d.]+) \|", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in rows}


def wrong_versions(pinned: dict[str, Version], asked: list[Requirement], least: dict[str, Version]) -> Iterator[str]:
    """Yield pins and ranges that let in what SECURITY.md does not."""
    for name, floor in least.items():
        if name in pinned and pinned[name] < floor:
            yield f"{name} is pinned to {pinned[name]}, below SECURITY.md's {floor}: raise the pin."
    for one in asked:
        name, pin = canonicalize_name(one.name), pinned.get(canonicalize_name(one.name))
        if pin is not None and not one.specifier.contains(pin):
            yield f"{one} does not let its own pin {pin} in."
        under = [spec.version for spec in one.specifier if spec.operator in (">=", "==", "~=")]
        if name in least and not any(Version(version) >= least[name] for version in under):
            yield f"{one} lets in what is below SECURITY.md's {least[name]}."
        for bad in BAD.get(name, ()):
            if one.specifier.contains(bad):
                yield f"{one} lets the bad release {bad} in."
    for name, releases in BAD.items():
        if str(pinned.get(name)) in releases:
            yield f"{name} is pinned to the bad release {pinned[name]}."


@cache
def licence(name: str) -> str | None:
    """Return what an installed package says of its licence; None where it is not installed."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    kinds = [line.split("::")[-1].strip() for line in told.get_all("Classifier") or () if line.startswith("License")]
    text = (told.get("License") or "").strip()
    # A whole licence instead of its name says nothing that its classifiers do not.
    return told.get("License-Expression") or "; ".join([*kinds, *([text] if "\n" not in text else [])])


def wrong_licence(name: str, told: str) -> str | None:
    """Return what is wrong with a licence beside Apache-2.0, None if nothing is."""
    if name in READ_BY_HAND:
        return None
    # Of licences joined by OR one is enough; a package that names several with AND is under all of them.
    choices = re.split(r"\bOR\b", told) if " OR " in told else [told]
    if any(PERMISSIVE.search(one) and not COPYLEFT.search(one) for one in choices):
        return None
    return (
        f"{name} is under {told or 'no licence that it names'}: read it, then name it in READ_BY_HAND or leave it out."
    )


def index() -> str:
    """Return the package index that pip is set to, with a slash at its end."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    told = subprocess.run(command, capture_output=True, text=True)
    if not told.returncode:
        return told.stdout.strip().rstrip("/") + "/"
    from pip._internal.models.index import PyPI  # what pip takes where nothing is set

    return PyPI.simple_url.rstrip("/") + "/"


def withdrawn(name: str, version: Version, timeout: float = 20) -> bool:
    """Ask the index whether a release was yanked (PEP 592, 691).

    Raises:
        OSError: If it cannot be reached.
        ValueError: If it does not answer in JSON, or does not know the release.
    """
    asked = urllib.request.Request(f"{index()}{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(asked, timeout=timeout) as answer:
        files = json.load(answer)["files"]
    start = re.compile(rf"{re.sub(r'[-_.]+', '[-_.]+', name)}-{re.escape(str(version))}(-|\.tar|\.zip)", re.IGNORECASE)
    mine = [file for file in files if start.match(file["filename"])]
    if not mine:
        raise ValueError(f"the index knows no {name} {version}")
    return all(file.get("yanked") for file in mine)


def pip_audit(timeout: float = 300) -> tuple[list[str], str]:
    """Ask pip-audit about all pins.

    Returns:
        What is wrong; and why it could not be asked, or how many packages it judged.
    """
    command = [sys.executable, "-m", "pip_audit", "-r", str(PINS), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        judged = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"SKIPPED: pip-audit gave no answer in {timeout:.0f} s"
    except (ValueError, KeyError):
        return (
            [],
            f"SKIPPED: pip-audit is not there or reached nobody ({(done.stderr.strip().splitlines() or ['?'])[-1]})",
        )
    skipped = [one for one in judged if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']} has {weakness['id']}, mended in {weakness['fix_versions'] or 'no release'}."
        for one in judged
        for weakness in one.get("vulns", ())
    ]
    said = f"{len(judged) - len(skipped)} packages judged by pip-audit"
    return found, said + (f"; SKIPPED: {len(skipped)} that it does not know" if skipped else "")


def look(online: bool, names: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Look at everything; return what is wrong, and what was and was not looked at."""
    pinned, asked = pins(), ranges()
    wrong, said = list(wrong_versions(pinned, asked, floors())), [f"{len(pinned)} pins against floors and bad releases"]
    if free := sorted({one.name for one in asked if canonicalize_name(one.name) not in pinned}):
        said.append(f"SKIPPED: {', '.join(free)}: `make setup` does not install it, so nothing pins it")
    told = {name: licence(name) for name in pinned}
    absent = sorted(name for name, words in told.items() if words is None)
    wrong += [each for name, words in told.items() if words is not None and (each := wrong_licence(name, words))]
    said.append(f"{len(told) - len(absent)} licences")
    if absent:
        said.append(f"SKIPPED: licences of {', '.join(absent)}, which are not installed")
    if not online:
        return wrong, [*said, "SKIPPED: withdrawn releases and known weaknesses (--online asks for them)"]
    direct = names or sorted({canonicalize_name(one.name) for one in asked} & pinned.keys())
    for name in direct:
        try:
            wrong += [f"{name} {pinned[name]} was withdrawn."] if withdrawn(name, pinned[name]) else []
        except (OSError, ValueError) as error:
            said.append(f"SKIPPED: whether {name} {pinned[name]} was withdrawn ({error})")
    found, words = pip_audit()
    return wrong + found, [*said, f"{len(direct)} packages asked for withdrawn releases", words]


def main(arguments: list[str] | None = None) -> int:
    """Look, tell, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--online", action="store_true", help="ask the package index and pip-audit too")
    parser.add_argument("--only", nargs="*", help="packages to ask the index about; default: those of pyproject.toml")
    given = parser.parse_args(arguments)
    wrong, said = look(given.online, given.only)
    print("\n".join(["audit: " + line for line in said] + ["audit: WRONG: " + line for line in wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
