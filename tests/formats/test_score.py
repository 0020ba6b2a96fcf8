"""The score in the facts of a bundle, which may hold anything."""

from typing import Any

import pytest

from charlm.formats.score import KnownScore, known_score


@pytest.mark.parametrize(("split", "is_unseen"), [("validation", True), ("train", False)])
def test_a_score_is_read_with_its_step(split: str, is_unseen: bool) -> None:
    facts = {"step": 7, "score": {"split": split, "nats_per_char": 1.5}}
    assert known_score(facts) == KnownScore(1.5, is_unseen, 7)


@pytest.mark.parametrize("nats", [None, "1.5", True, -1.0, float("nan"), float("inf"), 10**400, [1.5]])
def test_a_value_that_is_not_possible_is_none(nats: Any) -> None:
    assert known_score({"score": {"split": "validation", "nats_per_char": nats}}) is None


@pytest.mark.parametrize(
    "score", [None, 3, [], {}, {"split": "<b>", "nats_per_char": 1.5}, {"split": [], "nats_per_char": 1}]
)
def test_what_is_not_a_score_is_none(score: Any) -> None:
    assert known_score({"score": score}) is None


@pytest.mark.parametrize("step", [None, "7", 1.5, 10**400, True])
def test_a_step_that_is_not_possible_is_left_out(step: Any) -> None:
    facts = {"step": step, "score": {"split": "train", "nats_per_char": 1}}
    assert known_score(facts) == KnownScore(1, False, None)
