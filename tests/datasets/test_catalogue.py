import re
from pathlib import Path

from mambats_datasets.catalogue import catalogue, records

README = Path(__file__).parents[2] / "datasets" / "README.md"


def test_the_readme_holds_the_table_of_records():
    marked = re.search(r"<!-- catalogue.*?-->\n(.*?)\n<!-- end", README.read_text(encoding="utf-8"), re.DOTALL)
    assert marked, "datasets/README.md has lost its catalogue markers"
    assert marked[1] == catalogue(), "run `python -m mambats_datasets.catalogue` and paste it into datasets/README.md"


def test_records_are_whole():
    for entries in records().values():
        for entry in entries:
            assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256), entry.name
            assert entry.url.startswith("https://")
            assert entry.licence
            assert entry.citation
            assert entry.units
