"""A bundle and a checkpoint with one damaged byte: a sample of the damages of `damage.py`."""

from collections import Counter

from faults.damage import KINDS, run


def test_a_damaged_byte_is_noticed_or_changes_nothing() -> None:
    outcomes = [(damage, outcome) for damage, outcome in run(300)]
    assert {damage.kind for damage, _ in outcomes} == {*KINDS}
    assert len({damage.file.name for damage, _ in outcomes}) == 6
    assert Counter(outcome for _, outcome in outcomes)["refused"] > 250
