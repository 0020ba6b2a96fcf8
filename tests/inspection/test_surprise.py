"""The surprise of each character, and the loss by class."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import random_ids, traced
from models import random_parameters

from charlm.evaluation.baselines import Comparison
from charlm.inspection.loss_by_class import ClassLoss, divide_loss, loss_summary
from charlm.inspection.surprise import list_characters, predict, reader
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary


def test_the_nats_and_the_likeliest_characters_are_those_of_the_definition() -> None:
    parameters, ids = random_parameters(vocabulary_size=7, layers=2), random_ids(20, ids=7)
    found = predict(traced(parameters, ids), lags=8)
    np.testing.assert_allclose(found.nats, reference.nats(parameters, ids.tolist()), atol=1e-5)
    assert found.ids.tolist() == ids[1:].tolist()
    logits, _ = reference.read(parameters, ids.tolist())
    for row, guesses, chances in zip(logits, found.likeliest, found.probabilities, strict=False):
        expected = sorted(np.exp(row) / np.exp(row).sum(), reverse=True)[:5]
        np.testing.assert_allclose(chances, expected, rtol=1e-6)
        assert guesses.tolist() == np.argsort(-row)[:5].tolist()
    assert (found.influence[0, 1:] == 0).all()  # there is nothing before the text
    assert (found.influence[:, 0] > 0).all()


@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_influence_is_the_gradient_by_the_input(*, skip_connections: bool) -> None:
    """Each character occurs once, so that a change of its embedding is a change of one x_s."""
    kind: dict[str, Any] = {"layers": 2, "embedding": 3, "skip_connections": skip_connections}
    parameters = random_parameters(vocabulary_size=7, scale=0.6, **kind)
    ids = [4, 0, 6, 2, 1, 3]
    found = predict(traced(parameters, np.array(ids)), lags=5).influence[-1]

    def loss(row: int, column: int, step: float) -> float:
        tensors: dict[str, Any] = {
            name: tensor.astype(np.float64) for name, tensor in parameters.tensors.items()
        }
        tensors["embedding"][row, column] += step
        return reference.nats(Parameters(parameters.architecture, tensors), ids)[-1]

    slopes = [
        [(loss(row, at, 1e-5) - loss(row, at, -1e-5)) / 2e-5 for at in range(3)]
        for row in ids[4::-1]
    ]
    expected = np.linalg.norm(slopes, axis=1)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-7)


def test_the_page_has_the_numbers_of_the_json_and_colours_each_character_by_its_nats() -> None:
    vocabulary = (*tuple("ab<\n"), None)
    predictions = predict(traced(random_parameters(scale=2.0), random_ids(50, ids=5)))
    characters, page = list_characters(predictions, vocabulary), reader(predictions, vocabulary)
    levels = [int(level or 0) for level in re.findall(r'<span(?: class="l(\d)")? title', page)]
    assert levels == [min(9, int(each["nats"] / 0.75)) for each in characters]
    data = json.loads(
        page.partition('<script type="application/json">')[2].partition("</script>")[0]
    )
    assert data["nats"] == pytest.approx([each["nats"] for each in characters], rel=1e-6)
    assert data["labels"] == ["a", "b", "<", "↵", "□"]
    for i, each in enumerate(characters):
        assert each["position"] == i + 2
        assert each["character"] == vocabulary[data["ids"][i]]
        guesses = [vocabulary[index] for index in data["likeliest"][i]]
        assert [guess["character"] for guess in each["likeliest"]] == guesses
        assert [int(level) for level in data["influence"][i]] == np.rint(
            9 * np.array(each["influence"])
        ).tolist()


# The loss by class

TEXT = "Ab 1\nc, Dé"
VOCABULARY = Vocabulary(characters=tuple(sorted(set(TEXT))))
IDS = VOCABULARY.encode(TEXT)
NATS = np.arange(1.0, len(TEXT))  # of "b" to "é"


def losses(table: tuple[ClassLoss, ...]) -> dict[str, tuple[int, float]]:
    return {row.name: (row.characters, row.nats_per_char) for row in table}


def test_each_character_is_counted_in_its_class() -> None:
    found = divide_loss(NATS, IDS, VOCABULARY)
    single = {"upper case": (1, 8), "digit": (1, 3), "line break": (1, 4), "punctuation": (1, 6)}
    assert losses(found.by_class) == {
        "lower case": (3, (1 + 5 + 9) / 3),
        "space": (2, (2 + 7) / 2),
        **single,
    }
    assert losses(found.by_word_place) == {
        "outside words": (5, 22 / 5),
        "letter 1": (2, 13 / 2),
        "letter 2": (2, 5),
    }


def test_a_letter_is_counted_at_its_place_in_the_word() -> None:
    vocabulary = Vocabulary(characters=(" ", "a"))
    table = divide_loss(
        np.arange(11.0), vocabulary.encode(" aaaaaaaaaa "), vocabulary
    ).by_word_place
    singles = {f"letter {place}": (1, place - 1) for place in (1, 2, 3, 4)}
    assert losses(table) == {
        "outside words": (1, 10),
        **singles,
        "letters 5 to 7": (3, 5),
        "letters from 8": (3, 8),
    }


def test_the_n_gram_model_is_divided_in_the_same_way_and_without_loss_there_are_no_shares() -> None:
    found = divide_loss(NATS, IDS, VOCABULARY, ngram_nats=2 * NATS)
    assert found.comparison == Comparison(
        ngram_nats_per_char=10, margin_nats=5, standard_error=None, characters=9
    )
    for row in (*found.by_class, *found.by_word_place):
        assert row.ngram_nats_per_char == pytest.approx(2 * row.nats_per_char)
    assert np.isnan(divide_loss(NATS, IDS, VOCABULARY).by_class[0].ngram_nats_per_char)
    perfect = divide_loss(np.zeros(9), IDS, VOCABULARY)
    assert perfect.nats_per_char == 0
    assert {row.share_of_loss for row in perfect.by_class} == {0}


def test_means_weighted_by_counts_are_the_mean_over_the_text() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, len(VOCABULARY), 5000)
    nats = rng.random(4999).astype(np.float32)
    found = divide_loss(nats, ids, VOCABULARY)
    for table in (found.by_class, found.by_word_place):
        assert sum(row.characters for row in table) == found.positions.count == 4999
        mean = sum(row.characters * row.nats_per_char for row in table) / 4999
        assert mean == pytest.approx(found.nats_per_char, rel=1e-9)
        assert sum(row.share_of_loss for row in table) == pytest.approx(1)
    assert found.nats_per_char == pytest.approx(float(nats.mean(dtype=np.float64)))


def test_the_errors_are_those_of_blocks_of_300_characters() -> None:
    rng = np.random.default_rng(0)
    ids = np.tile(VOCABULARY.encode("b\n"), 1201)[:2401]
    nats, by_ngrams = rng.random((2, 2400))
    found = divide_loss(nats, ids, VOCABULARY, ngram_nats=by_ngrams)
    blocks, gains = nats.reshape(8, 300), (by_ngrams - nats).reshape(8, 300).mean(1).tolist()
    assert found.standard_error == pytest.approx(
        reference.standard_error(blocks.mean(1).tolist()), rel=0.01
    )
    assert found.comparison is not None
    assert found.comparison.margin_nats == pytest.approx(by_ngrams.mean() - nats.mean())
    assert found.comparison.standard_error == pytest.approx(
        reference.standard_error(gains), rel=0.01
    )
    breaks = next(
        each for each in found.by_class if each.name == "line break"
    )  # every other character
    assert breaks.standard_error == pytest.approx(
        reference.standard_error(blocks[:, ::2].mean(1).tolist()), rel=0.01
    )
    ngram_blocks = by_ngrams.reshape(8, 300)[:, ::2].mean(1).tolist()
    assert breaks.ngram_standard_error == pytest.approx(
        reference.standard_error(ngram_blocks), rel=0.01
    )


@pytest.mark.parametrize(
    ("comparison", "ending"),
    [
        pytest.param(
            Comparison(1.5, 0.25, 0.01, 2_400),
            f", {Comparison(1.5, 0.25, 0.01, 2_400)}",
            id="clear",
        ),
        pytest.param(
            Comparison(1.5, 0.02, 0.01, 2_400),
            f", {Comparison(1.5, 0.02, 0.01, 2_400)}",
            id="not clear",
        ),
        pytest.param(Comparison(1.5, 0.25, None, 99), "", id="short text"),
        pytest.param(None, "", id="training text not known"),
    ],
)
def test_the_summary_has_the_score_and_the_comparison(
    comparison: Comparison | None, ending: str
) -> None:
    loss = replace(
        divide_loss(NATS, IDS, VOCABULARY),
        nats_per_char=1.25,
        standard_error=0.021,
        comparison=comparison,
    )
    assert (
        loss_summary(loss) == f"scores 1.250 \N{PLUS-MINUS SIGN} 0.021 nats per character{ending}"
    )
