"""`charlm info`: what to paste into an issue."""

import json
import platform
from importlib.metadata import distributions
from pathlib import Path

import pytest
from commands import charlm

from charlm import __version__
from charlm.cli.info import installed_extras
from charlm.hardware import memory_bytes


def test_json_has_versions_machine_and_paths() -> None:
    facts = json.loads(charlm("info", "--json").stdout)
    assert facts["charlm"] == __version__
    assert facts["python"] == platform.python_version()
    installed = {distribution.name: distribution.version for distribution in distributions()}
    assert {name: facts[name] for name in ("click", "numpy", "tensorflow", "keras")} == {
        name: installed.get(name) for name in ("click", "numpy", "tensorflow", "keras")
    }
    assert facts["memory_bytes"] == memory_bytes()
    assert isinstance(facts["bfloat16"], bool)
    assert (Path(facts["package"]) / "cli/info.py").is_file()
    assert (Path(facts["recipes"]) / "default.yaml").is_file()
    assert facts["runs"] == str(Path.cwd() / "runs")


def test_the_same_facts_are_lines() -> None:
    facts = json.loads(charlm("info", "--json").stdout)
    lines = charlm("info").stdout.splitlines()
    assert len(lines) == len(facts)
    assert ["charlm", __version__] in [line.split() for line in lines]


METADATA = """Metadata-Version: 2.4
Name: some-thing
Version: 1
Provides-Extra: here
Provides-Extra: gone
Requires-Dist: numpy>=2.0
Requires-Dist: click>=8; extra == 'here'
Requires-Dist: no-such-package-1234; python_version >= '3' and extra == 'gone'
Requires-Dist: click; extra == 'gone'
"""


def test_an_extra_counts_if_all_its_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "some_thing-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_extras("some-thing") == ["here"]


def test_a_distribution_that_is_not_installed_has_no_extras() -> None:
    assert installed_extras("no-such-package-1234") == []
