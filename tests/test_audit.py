"""The audit of dependencies: what it must find, on what is here and on what is planted."""

import json
import subprocess

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import audit


def test_pins_floors_and_licences_are_right():
    wrong, said = audit.look(online=False)
    assert wrong == [] and any("SKIPPED" in line for line in said)


def test_the_floors_of_security_are_read_and_asked_for():
    assert {"lightning", "torch", "mlflow"} <= audit.floors().keys()
    named = {audit.canonicalize_name(one.name) for one in audit.ranges()}
    assert audit.floors().keys() <= named, "SECURITY.md names what pyproject.toml does not ask for"


@pytest.mark.parametrize(
    ("pin", "asked", "words"),
    [
        ("2.6.5", "lightning>=2.6.6", "below SECURITY.md"),
        ("2.6.6", "lightning>=2.6", "lets in what is below"),
        ("2.6.6", "lightning>=2.6", "bad release 2.6.2"),
        ("2.6.6", "lightning", "lets in what is below"),
        ("2.6.3", "lightning>=2.6.6", "pinned to the bad release"),
        ("2.7.0", "lightning>=2.6.6,<2.7", "its own pin"),
        (None, "lightning!=2.6.2", "bad release 2.6.3"),
    ],
)
def test_a_version_that_must_not_be_is_found(pin, asked, words):
    pinned = {} if pin is None else {"lightning": Version(pin)}
    found = list(audit.wrong_versions(pinned, [Requirement(asked)], {"lightning": Version("2.6.6")}))
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("told", "right"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("EPL-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MPL-2.0", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("BSD License; GNU Lesser General Public License v3 (LGPLv3)", False),
        ("CC-BY-NC-4.0", False),
        ("Proprietary", False),
        ("", False),
    ],
)
def test_licences_are_told_apart(told, right):
    assert (audit.wrong_licence("package", told) is None) == right


class Index:
    """Stands for an answer of the package index."""

    def __init__(self, *files):
        self.files = files

    def __call__(self, request, timeout):
        assert request.full_url.endswith("/a-b/")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self):
        return json.dumps({"files": [{"filename": name, "yanked": yanked} for name, yanked in self.files]})


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([("a_b-1.0-py3-none-any.whl", "broken"), ("a_b-1.0.tar.gz", True)], True),
        ([("a_b-1.0-py3-none-any.whl", False), ("a_b-1.0.tar.gz", True)], False),
        ([("a_b-1.0-py3-none-any.whl", False), ("a_b-1.0.1-py3-none-any.whl", True)], False),
    ],
)
def test_a_withdrawn_release_is_known(monkeypatch, files, found):
    monkeypatch.setattr(audit.urllib.request, "urlopen", Index(*files))
    assert audit.withdrawn("a-b", Version("1.0")) is found
    with pytest.raises(ValueError, match="knows no a-b 2.0"):
        audit.withdrawn("a-b", Version("2.0"))


@pytest.mark.parametrize(
    ("answer", "found", "words"),
    [
        ("", 0, "SKIPPED: pip-audit is not there"),
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 0, "1 packages judged"),
        ({"dependencies": [{"name": "a", "skip_reason": "unknown"}]}, 0, "SKIPPED: 1"),
        ({"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": []}]}]}, 1, "judged"),
    ],
)
def test_silence_of_pip_audit_is_not_taken_for_a_yes(monkeypatch, answer, found, words):
    done = subprocess.CompletedProcess([], 1, json.dumps(answer) if answer else "", "No module named pip_audit")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    wrong, said = audit.pip_audit()
    assert len(wrong) == found and words in said


def test_the_command_fails_where_something_is_wrong(monkeypatch, capsys):
    assert audit.main([]) == 0 and "SKIPPED" in capsys.readouterr().out
    monkeypatch.setattr(audit, "BAD", {"numpy": (str(audit.pins()["numpy"]),)})
    assert audit.main([]) == 1 and "WRONG: numpy" in capsys.readouterr().out
