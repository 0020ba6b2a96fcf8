"""The loss by class of character and by place in a word."""

import re
from typing import Any

import numpy as np
import pytest
import reference

from charlm.core.vocabulary import Vocabulary
from charlm.inspection.loss_by_class import ClassLoss, LossByClass, details, divide_loss
from charlm.inspection.style import Line

TEXT = "Ab 1\nc, Dé"
VOCABULARY = Vocabulary(characters=tuple(sorted(set(TEXT))))
IDS = VOCABULARY.encode(TEXT)
NATS = np.arange(1.0, len(TEXT))
"""The losses of the second to the last character."""


def means(table: tuple[ClassLoss, ...]) -> dict[str, tuple[int, float | None]]:
    return {row.name: (row.characters, row.nats_per_char.value) for row in table}


def test_a_character_is_counted_in_its_class() -> None:
    assert means(divide_loss(NATS, IDS, VOCABULARY).by_class) == {
        "lower case": (3, (1 + 5 + 9) / 3),
        "upper case": (1, 8),
        "space": (2, (2 + 7) / 2),
        "digit": (1, 3),
        "line break": (1, 4),
        "punctuation": (1, 6),
    }


def test_places_in_long_words_are_grouped() -> None:
    vocabulary = Vocabulary(characters=(" ", "a"))
    loss = divide_loss(np.arange(11.0), vocabulary.encode(" aaaaaaaaaa "), vocabulary)
    assert means(loss.by_word_place) == {
        "outside words": (1, 10),
        "letter 1": (1, 0),
        "letter 2": (1, 1),
        "letter 3": (1, 2),
        "letter 4": (1, 3),
        "letters 5 to 7": (3, 5),
        "letters from 8": (3, 8),
    }


def test_a_perfect_network_has_no_shares_of_the_loss() -> None:
    loss = divide_loss(np.zeros(9), IDS, VOCABULARY)
    assert loss.nats_per_char.value == 0
    assert {row.share_of_loss for row in loss.by_class} == {0}


# The n-gram model


def test_the_loss_of_the_n_gram_model_is_divided_into_the_same_classes() -> None:
    loss = divide_loss(NATS, IDS, VOCABULARY, ngram_nats=2 * NATS)
    for row in (*loss.by_class, *loss.by_word_place):
        assert row.nats_per_char.value is not None
        assert row.ngram_nats_per_char == pytest.approx(2 * row.nats_per_char.value)


# Errors

LINES = np.tile(VOCABULARY.encode("b\n"), 1201)[:2401]
LOSSES, NGRAM_LOSSES = np.random.default_rng(0).random((2, 2400))


def error_of(losses: Any, *, step: int = 1) -> Any:
    """Return the standard error of a mean from eight blocks, or from every other character."""
    block_means = losses.reshape(8, 300)[:, ::step].mean(1)
    return pytest.approx(reference.standard_error(block_means.tolist()), rel=0.01)


@pytest.fixture(scope="module")
def loss_of_lines() -> LossByClass:
    """Return the loss of a text in which every other character is a line break."""
    return divide_loss(LOSSES, LINES, VOCABULARY, ngram_nats=NGRAM_LOSSES)


def test_the_error_of_the_loss_is_based_on_blocks(loss_of_lines: LossByClass) -> None:
    assert loss_of_lines.nats_per_char.error == error_of(LOSSES)


def test_the_error_of_a_class_is_based_on_blocks(loss_of_lines: LossByClass) -> None:
    (line_break,) = (row for row in loss_of_lines.by_class if row.name == "line break")
    assert line_break.nats_per_char.error == error_of(LOSSES, step=2)


def test_the_error_of_the_comparison_is_based_on_paired_blocks(loss_of_lines: LossByClass) -> None:
    comparison = loss_of_lines.comparison
    assert comparison is not None
    assert comparison.margin_nats == pytest.approx(NGRAM_LOSSES.mean() - LOSSES.mean())
    assert comparison.standard_error == error_of(NGRAM_LOSSES - LOSSES)


# The table


def cells(page: str) -> list[list[str]]:
    """Return the cells of each row of a table."""
    _, *rows = page.split("<tr>")
    return [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row) for row in rows]


def test_the_table_has_the_mean_of_runs_that_differ_in_seeds() -> None:
    runs = {
        Line(f"{group} {seed}", group, "blue"): divide_loss(NATS + seed, IDS, VOCABULARY)
        for group, seed in (("a", 0), ("a", 3), ("b", 1))
    }
    page = details(runs)
    head, whole, *_ = cells(page)
    assert "over the seeds" in page
    assert head[2:4] == ["a", "b"]
    assert whole[2:4] == ["6.5 ± 1.5", "6.000"]


def test_a_class_may_be_missing_in_a_run() -> None:
    lines = {Line("a", "a", "blue"): IDS, Line("b", "b", "green"): VOCABULARY.encode("bbbbb")}
    runs = {
        line: divide_loss(np.ones(len(ids) - 1), ids, VOCABULARY) for line, ids in lines.items()
    }
    rows = {row[0]: row for row in cells(details(runs))}
    assert rows["upper case"][2:4] == ["1.000", "\N{EN DASH}"]
