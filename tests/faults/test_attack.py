"""A run whose files were replaced, linked, filled with wrong types or huge numbers: a sample of `attack.py`."""

from collections import Counter
from pathlib import Path

import pytest
from faults.attack import contents, make_victim, run

pytestmark = pytest.mark.slow


def test_an_attack_is_refused_in_a_line_or_without_effect() -> None:
    results = list(run(150))
    assert {str(result.attack): result.failures for result in results if result.failures} == {}
    outcomes = Counter(one.kind for result in results for one in result.outcomes.values())
    assert outcomes["refused"] > 50
    assert outcomes["unchanged"] > 50
    assert len({result.attack.kind for result in results}) >= 7


def test_a_change_outside_the_run_is_noticed(tmp_path: Path) -> None:
    run_folder = make_victim(tmp_path / "victim")
    before = contents(tmp_path / "victim", but="run")
    (run_folder / "config.yaml").touch()
    assert contents(tmp_path / "victim", but="run") == before
    (tmp_path / "victim/outside/precious").write_text("a bed cab ade\n", encoding="utf-8")
    assert contents(tmp_path / "victim", but="run") != before
