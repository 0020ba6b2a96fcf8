"""Suggestions for the next run, and ended.json, which keeps them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import CharlmError
from charlm.evaluation.baselines import Comparison
from charlm.training.suggestion import End, Evidence, Suggestion, suggest

BETTER = Comparison(1.75, 0.25, 0.01, 9_999)
WORSE = Comparison(1.25, -0.25, 0.01, 9_999)
SIMILAR = Comparison(1.5, -0.01, 0.01, 9_999)

OVERFITTED = Evidence(
    step=100,
    best_step=90,
    epochs=4.0,
    has_two_evaluations=True,
    comparison=BETTER,
    best_nats=1.5,
    lzma_nats=2.0,
    training_characters=100_000,
)
"""A run that has begun to memorise its text, and is better than every simple model."""
SHORT = {"comparison": WORSE, "training_characters": 69_999}


def suggest_after(**changes: Any) -> Suggestion | None:
    """Return the suggestion after the run OVERFITTED with some changes."""
    return suggest(replace(OVERFITTED, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="better than all simple models"),
        pytest.param({"best_step": 1}, id="best at the start"),
        pytest.param({"best_step": 100, "has_two_evaluations": False}, id="one evaluation"),
        pytest.param({**SHORT, "training_characters": 70_000}, id="worse on a long text"),
        pytest.param({**SHORT, "comparison": SIMILAR}, id="similar on a short text"),
        pytest.param({**SHORT, "comparison": None}, id="not compared on a short text"),
        pytest.param({"lzma_nats": None}, id="lzma unknown"),
        pytest.param({"lzma_nats": 1.46}, id="nearly as good as lzma"),
        pytest.param({"lzma_nats": 1.0, "comparison": WORSE}, id="worse than lzma and a 5-gram"),
    ],
)
def test_without_clear_evidence_nothing_is_suggested(changes: dict[str, Any]) -> None:
    assert suggest_after(**changes) is None


@pytest.mark.parametrize(
    ("changes", "kind", "epochs"),
    [
        pytest.param({}, "still learning", 8, id="better than a 5-gram"),
        pytest.param({"comparison": None}, "still learning", 8, id="not compared"),
        pytest.param(
            {"comparison": WORSE, "epochs": 2.0},
            "still learning",
            4,
            id="worse after two epochs",
        ),
        pytest.param(
            {"comparison": WORSE, "epochs": 1.9},
            "too few steps",
            4,
            id="worse before two epochs",
        ),
        pytest.param(
            {"comparison": WORSE, "epochs": 1.0, "has_two_evaluations": False},
            "too few steps",
            2,
            id="worse after one evaluation",
        ),
        pytest.param(
            {"comparison": SIMILAR, "epochs": 1.9},
            "still learning",
            4,
            id="similar before two epochs",
        ),
        pytest.param({"lzma_nats": 1.0}, "still learning", 8, id="worse than lzma"),
        pytest.param(SHORT, "still learning", 8, id="short text"),
        pytest.param({"epochs": 1.0, **SHORT}, "too few steps", 2, id="few steps, short text"),
    ],
)
def test_twice_the_epochs_are_suggested_after_a_run_that_still_improves(
    changes: dict[str, Any],
    kind: str,
    epochs: int,
) -> None:
    suggestion = suggest_after(best_step=100, **changes)
    assert suggestion is not None
    assert (suggestion.kind, suggestion.epochs, suggestion.settings) == (kind, epochs, None)


@pytest.mark.parametrize(("step", "steps"), [(1, 200), (99, 200), (100, 200), (101, 202)])
def test_at_least_200_steps_are_suggested(step: int, steps: int) -> None:
    suggestion = suggest_after(step=step, best_step=step, epochs=0.3)
    assert suggestion == Suggestion("still learning", settings={"training.steps": steps})


@pytest.mark.parametrize("epochs", [0.2, 1.35, 1.67])
def test_twice_the_steps_are_suggested_if_twice_the_epochs_are_far_from_whole(
    epochs: float,
) -> None:
    suggestion = suggest_after(best_step=100, epochs=epochs)
    assert suggestion == Suggestion("still learning", settings={"training.steps": 200})


@pytest.mark.parametrize("epochs", [1.37, 1.64])
def test_twice_the_epochs_are_suggested_if_they_are_within_a_tenth_of_a_whole_number(
    epochs: float,
) -> None:
    assert suggest_after(best_step=100, epochs=epochs) == Suggestion("still learning", epochs=3)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param(SHORT, "short text", id="short text"),
        pytest.param({"lzma_nats": 1.0, **SHORT}, "short text", id="short text, worse than lzma"),
        pytest.param({"lzma_nats": 1.4}, "long repeats", id="better than a 5-gram"),
        pytest.param({"lzma_nats": 1.4, "comparison": None}, "long repeats", id="not compared"),
    ],
)
def test_a_text_that_suits_another_model_is_explained_without_a_new_run(
    changes: dict[str, Any],
    kind: str,
) -> None:
    suggestion = suggest_after(**changes)
    assert suggestion is not None
    assert (suggestion.kind, suggestion.epochs) == (kind, None)


# ended.json


@pytest.mark.parametrize(
    "suggestion",
    [
        pytest.param(None, id="nothing"),
        pytest.param(Suggestion("still learning", epochs=8), id="epochs"),
        pytest.param(Suggestion("too few steps", settings={"training.steps": 80}), id="steps"),
    ],
)
def test_the_end_of_a_run_keeps_its_suggestion(
    suggestion: Suggestion | None,
    tmp_path: Path,
) -> None:
    End(40, suggestion).write(tmp_path / "ended.json")
    assert End.read(tmp_path / "ended.json") == End(40, suggestion)


def test_a_run_that_has_not_ended_has_no_end(tmp_path: Path) -> None:
    assert End.read(tmp_path / "ended.json") is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="a list"),
        pytest.param('{"step": "x"}', id="no step"),
        pytest.param('{"step": 1, "suggestion": {"kind": "rest"}}', id="an unknown kind"),
        pytest.param(
            '{"step": 1, "suggestion": {"kind": "short text", "epochs": "x"}}',
            id="no number",
        ),
    ],
)
def test_a_damaged_end_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "ended.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CharlmError, match=r"ended\.json: damaged; expected"):
        End.read(path)
