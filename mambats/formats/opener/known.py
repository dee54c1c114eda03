"""All formats, in the order in which they are tried."""

from __future__ import annotations

from pathlib import Path

from mambats.formats.error import DataError
from mambats.formats.opener import kitti, logs, sets, tables
from mambats.formats.opener.look import Format, Look
from mambats.formats.repair import REFUSE, Policy
from mambats.series import Recording

#: The first that fits is taken: those that are known by a magic or a name stand before those known by their columns.
FORMATS: tuple[Format, ...] = (*logs.FORMATS, *kitti.FORMATS, *sets.FORMATS, *tables.FORMATS)
#: Files that say something about others in a folder, and hold no data.
BESIDE = (".json", ".md", ".yaml", ".yml", ".val", "")


def open_any(path: Path | str, policy: Policy = REFUSE) -> list[Recording]:
    """Open a recording, or several, of any format that is known.

    Args:
        path: File or folder. A folder of files that are all known is all of their recordings.
        policy: What to do with faults.

    Raises:
        DataError: If there is nothing, nothing fits (then it says what was looked for), or the file has a fault.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place}: there is no such file or folder. Check the path.")
    found = recognise(place)
    if found is not None:
        return list(found.read(place, policy))
    files = _files(place) if place.is_dir() else []
    if files and all(recognise(file) for file in files):
        return [recording for file in files for recording in open_any(file, policy)]
    raise DataError(_unknown(place, files))


def recognise(path: Path) -> Format | None:
    """Return the first format that fits, or None."""
    look = Look(path)
    return next((form for form in FORMATS if form.fits(look)), None)


def _files(folder: Path) -> list[Path]:
    held = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [path for path in held if path.is_file() and path.suffix not in BESIDE]


def _unknown(place: Path, files: list[Path]) -> str:
    if place.is_dir():
        odd = [file.name for file in files if not recognise(file)]
        names = sorted(path.name for path in place.iterdir())
        what = f"a folder with {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else "an empty folder"
        what += f" ({', '.join(odd[:3])} is not known alone either)" if odd and len(odd) < len(names) else ""
    else:
        head = Look(place).head
        what = f"a file that begins with {head[:24]!r}" if head else "an empty file"
    home = next((parent for parent in place.resolve().parents[:2] if recognise(parent)), None)
    if home is not None and (form := recognise(home)):
        return f"{place}: {what} is a part of {home}, which is {form.what}. Give that folder."
    looked = "\n".join(f"  {form.name}: {form.what}" for form in FORMATS)
    return f"{place}: {what} is of no format that is known. Looked for:\n{looked}"
