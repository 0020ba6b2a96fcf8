"""`charlm info`: what to paste into an issue."""

import json
import platform
from importlib.metadata import distributions
from pathlib import Path

from commands import charlm

from charlm import __version__
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
    assert (Path(facts["package"]) / "cli/main.py").is_file()
    assert (Path(facts["recipes"]) / "default.yaml").is_file()
    assert facts["runs"] == str(Path.cwd() / "runs")


def test_the_same_facts_are_lines() -> None:
    facts = json.loads(charlm("info", "--json").stdout)
    lines = charlm("info").stdout.splitlines()
    assert len(lines) == len(facts)
    assert ["charlm", __version__] in [line.split() for line in lines]
