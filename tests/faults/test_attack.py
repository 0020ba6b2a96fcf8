"""A run whose files were replaced, linked, filled with wrong types or huge numbers: a sample of `attack.py`."""

from collections import Counter
from pathlib import Path

import pytest
from faults.attack import attacks, contents, in_a_process, make_victim, outcome, run
from faults.attacks import Attack

pytestmark = pytest.mark.slow

KINDS = {"link", "planted link", "replaced", "byte", "type", "config", "YAML", "tensors", "ids"}


def test_an_attack_is_refused_in_a_line_or_without_effect() -> None:
    results = list(run(150))
    assert {str(result.attack): result.failures for result in results if result.failures} == {}
    outcomes = Counter(one.kind for result in results for one in result.outcomes.values())
    assert outcomes["refused"] > 50
    assert outcomes["unchanged"] > 50


def test_there_are_thousands_of_attacks_of_all_kinds(tmp_path: Path) -> None:
    found = Counter(attack.kind for attack in attacks(make_victim(tmp_path / "victim")))
    assert set(found) == KINDS
    assert found.total() > 3000
    assert min(found.values()) > 50


def test_a_change_outside_the_run_is_noticed(tmp_path: Path) -> None:
    run_folder = make_victim(tmp_path / "victim")
    before = contents(tmp_path / "victim", but="run")
    (run_folder / "config.yaml").touch()
    assert contents(tmp_path / "victim", but="run") == before
    (tmp_path / "victim/outside/precious").write_text("a bed cab ade\n", encoding="utf-8")
    assert contents(tmp_path / "victim", but="run") != before


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (("done", ["x", ""]), "unchanged"),
        (("done", ["y", ""]), "silent"),
        (("done", ["y", "charlm: seed: was 1, is now 2\n"]), "told"),
        (("refused", "charlm: run/config.yaml: damaged\n"), "refused"),
        (("refused", "damaged\n"), "message"),
        (("refused", "charlm: \x1b[31m\n"), "message"),
        (("traceback", "Traceback"), "traceback"),
        (("hang", "30 s"), "hang"),
    ],
)
def test_what_a_command_did_is_told_apart(found: tuple[str, object], kind: str) -> None:
    attack = Attack("link", "best", "a link", lambda _: None)
    assert outcome("runs", found, ("done", ["x", ""]), attack).kind == kind


def test_a_process_that_fails_is_a_traceback(tmp_path: Path) -> None:
    found = in_a_process(tmp_path)
    assert set(found) == {"sample best", "sample last", "evaluate", "evaluate text", "runs", "resume"}
    assert {kind for kind, _ in found.values()} == {"refused"}
