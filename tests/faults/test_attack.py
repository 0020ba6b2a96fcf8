"""A run whose files were replaced, linked, filled with wrong values, and hostile inputs: a sample of `attack.py`."""

from collections import Counter

import pytest

pytest.importorskip("optuna", reason="missing: optuna")
pytest.importorskip("starlette", reason="missing: starlette")

from faults.attack import run

pytestmark = pytest.mark.nightly


def test_an_attack_is_refused_in_a_line_or_without_effect() -> None:
    results = list(run(150))
    assert {str(result.attack): result.failures for result in results if result.failures} == {}
    outcomes = Counter(one.kind for result in results for one in result.outcomes.values())
    assert outcomes["refused"] > 50
    assert outcomes["unchanged"] > 50
    assert len({result.attack.kind for result in results}) == 11
