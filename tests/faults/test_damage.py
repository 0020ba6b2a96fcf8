"""A bundle and a checkpoint with one byte damaged: a sample of what `damage.py` does."""

from collections import Counter

import pytest
from faults.damage import KINDS, run

from charlm import bundle as bundles


def test_one_damaged_byte_is_noticed_or_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "READ_ATTEMPTS", 1)  # the damage is for good
    outcomes = [(damage, outcome) for damage, outcome in run(300)]
    assert {damage.kind for damage, _ in outcomes} == {*KINDS}
    assert len({damage.file.name for damage, _ in outcomes}) == 6
    assert Counter(outcome for _, outcome in outcomes)["refused"] > 250
