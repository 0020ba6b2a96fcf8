"""The ids and the text that follow a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import reference
from arrays import check_close
from hypothesis import given
from hypothesis import strategies as st
from limits import memory_limit
from models import (
    as_model,
    make_random_model,
    overflowing_parameters,
    random_parameters,
)

from charlm.core.generation import (
    GeneratedText,
    StoppedBy,
    TextRequest,
    choose_ids,
    encode_prompt,
    generate_text,
    read_prompt,
)
from charlm.core.model_file import TrainedModel
from charlm.core.sampler import Sampler, make_chooser
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError

PROMPT = np.array([1, 2, 0])
GREEDY = Sampler(temperature=0)


# Prompts


@pytest.mark.parametrize(("length", "ends"), [(3, [3]), (256, [256]), (258, [256, 258])], ids=str)
def test_a_prompt_is_read_in_blocks(length: int, ends: list[int]) -> None:
    parameters = random_parameters(layers=2, scale=0.5)
    prompt = np.arange(length) % 5
    for end, state in zip(ends, read_prompt(parameters, prompt), strict=True):
        _, expected = reference.read(parameters, prompt[:end].tolist())
        check_close([output[0] for output in state], expected, atol=1e-5)


AB = Vocabulary(("a", "b"))
A_BREAK = Vocabulary(("a", "\n"))


@pytest.mark.parametrize(
    ("vocabulary", "paragraphs", "prompt", "ids"),
    [
        pytest.param(AB, False, "axb", [0, 1], id="an unknown character"),
        pytest.param(AB, False, "", [0], id="empty, without a line break"),
        pytest.param(A_BREAK, False, "", [1], id="empty, with a line break"),
        pytest.param(A_BREAK, True, "", [1, 1], id="empty, with paragraphs"),
        pytest.param(A_BREAK, True, "a", [0], id="with paragraphs"),
        pytest.param(
            Vocabulary((None, "\n"), end_of_text_id=0),
            True,
            "",
            [0],
            id="empty, with 0 as end of text",
        ),
    ],
)
def test_a_prompt_has_at_least_one_id(
    vocabulary: Vocabulary, paragraphs: bool, prompt: str, ids: list[int]
) -> None:
    model = make_random_model(vocabulary=vocabulary, facts={"paragraphs": paragraphs})
    assert encode_prompt(model, prompt).tolist() == ids


# Ids


def generate(
    trained: TrainedModel,
    sampler: Sampler,
    *,
    length: int,
    seed: int = 0,
) -> list[int]:
    """Return the ids that follow the prompt."""
    *_, state = read_prompt(trained.parameters, PROMPT)
    return [*choose_ids(trained, state, TextRequest(length, sampler, seed))]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_ids_are_chosen_with_the_random_numbers_of_the_seed(
    trained: TrainedModel,
    temperature: float,
) -> None:
    sampler = Sampler(temperature=temperature)
    choose = make_chooser(sampler)
    ids = PROMPT.tolist()
    for uniform in np.random.default_rng([7, 0]).random(60).tolist():
        all_logits, _ = reference.read(trained.parameters, ids)
        logits = all_logits[-1].astype(np.float32)
        logits[trained.vocabulary.unknown_id] = -np.inf
        ids.append(choose(logits, uniform))
    assert generate(trained, sampler, length=60, seed=7) == ids[3:]


@pytest.mark.parametrize("unknown_id", [0, 2, None])
def test_the_unknown_id_is_never_chosen(unknown_id: int | None) -> None:
    characters: list[str | None] = ["a", "b", "c"]
    if unknown_id is not None:
        characters[unknown_id] = None
    vocabulary = Vocabulary(tuple(characters), unknown_id=unknown_id)
    model = make_random_model(vocabulary=vocabulary, scale=0)
    model.parameters.logits_bias[...] = [9, 1, 5]
    likeliest = {0: 2, 2: 0, None: 0}[unknown_id]
    assert generate(model, GREEDY, length=3) == [likeliest] * 3


def test_a_model_that_only_knows_the_unknown_id_is_refused() -> None:
    model = as_model(random_parameters(vocabulary_size=1), Vocabulary((None,), unknown_id=0))
    with pytest.raises(CharlmError, match="no character can be chosen"):
        generate(model, GREEDY, length=1)


def test_a_network_that_overflows_is_refused_without_a_warning() -> None:
    model = as_model(overflowing_parameters(), Vocabulary(tuple("abcde")))
    with pytest.raises(CharlmError, match="the logits are not finite"):
        generate_text(model, TextRequest(3, GREEDY, seed=0, prompt="abcd")).read(3)


@pytest.mark.parametrize("read", [next, str])
def test_a_text_that_has_failed_stays_failed(read: Callable[[GeneratedText], object]) -> None:
    model = as_model(overflowing_parameters(), Vocabulary(tuple("abcde")))
    text = generate_text(model, TextRequest(3, GREEDY, seed=0, prompt="abcd"))
    for message in ("the logits are not finite", "generating it has failed"):
        with pytest.raises(CharlmError, match=message):
            read(text)


# Text


@pytest.fixture
def model(trained: TrainedModel) -> TrainedModel:
    """Return the random model with four characters."""
    return replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", None), unknown_id=4))


@pytest.mark.parametrize("prompt", ["ab\na", "axb", ""])
def test_a_text_consists_of_the_chosen_ids(model: TrainedModel, prompt: str) -> None:
    *_, state = read_prompt(model.parameters, encode_prompt(model, prompt))
    ids = choose_ids(model, state, TextRequest(30, Sampler(), seed=3))
    expected = model.vocabulary.decode(np.array([*ids]))
    text = generate_text(model, TextRequest(30, Sampler(), seed=3, prompt=prompt))
    assert (str(text), text.stopped_by) == (expected, "length")


def test_a_text_adds_to_strings_on_both_sides(model: TrainedModel) -> None:
    request = TextRequest(30, Sampler(), seed=3, prompt="ab")
    text = generate_text(model, request)
    expected = f"ab{generate_text(model, request)}c"
    assert "ab" + text + "c" == expected
    assert "ab" + (text + "c") == expected


def test_a_length_of_zero_has_no_end(trained: TrainedModel) -> None:
    text = generate_text(trained, TextRequest(0, Sampler(), seed=0, ignore_end=True))
    with memory_limit(30_000):
        assert sum(1 for _ in islice(text, 5000)) == 5000
    with pytest.raises(CharlmError, match="length=0 generates without end"):
        str(text)


# The end of a text

ABC = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)


def text_of(
    ids: Sequence[int], *, stops: Sequence[str] = (), ignore_end: bool = False
) -> GeneratedText:
    """Return the text of ids."""
    request = TextRequest(len(ids), GREEDY, seed=0, stops=stops, ignore_end=ignore_end)
    return GeneratedText(iter(ids), ABC, request)


@given(
    text=st.text("ab", min_size=1, max_size=20),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4),
)
def test_a_text_ends_before_the_first_complete_stop_text(text: str, stops: list[str]) -> None:
    prefixes = [text[:end] for end in range(len(text) + 1)]
    stopped = [prefix for prefix in prefixes if prefix.endswith(tuple(stops))]
    read_text = stopped[0] if stopped else text
    lengths = [len(stop) for stop in stops if read_text.endswith(stop)]
    expected = read_text[: len(read_text) - max(lengths, default=0)]
    stopped_by: StoppedBy = "stop text" if stopped else "length"
    ids = ABC.encode(text).tolist()
    generated = text_of(ids, stops=stops)
    assert (str(generated), generated.stopped_by) == (expected, stopped_by)


def test_a_stop_text_of_many_combining_marks_is_refused_before_it_is_normalized() -> None:
    with pytest.raises(CharlmError, match="more than 4,000 combining marks in a row"):
        text_of([0], stops=["a" + 1_000_000 * "\u0301"])


@pytest.mark.parametrize(
    ("ids", "stops", "chunks"),
    [
        pytest.param([0, 0, 0, 1, 0], ["aab"], ["a"], id="a stop text"),
        pytest.param([0, 1, 2, 0], ["abb"], ["a", "bca"], id="no stop text"),
        pytest.param([0, 0, 2, 1], ["c", "aab"], ["aa"], id="the longest is held back"),
    ],
)
def test_characters_that_may_belong_to_a_stop_text_are_held_back(
    ids: list[int],
    stops: list[str],
    chunks: list[str],
) -> None:
    assert "".join(chunks) == str(text_of(ids, stops=stops))
    assert [*text_of(ids, stops=stops)] == chunks


@pytest.mark.parametrize(("ids", "text"), [([0, 4, 1], "a"), ([0, 4], "a"), ([4], "")], ids=str)
def test_an_end_of_text_id_ends_the_text(ids: list[int], text: str) -> None:
    generated = text_of(ids, stops=["ab"])
    assert (str(generated), generated.stopped_by) == (text, "end of text")


def test_an_ignored_end_of_text_id_becomes_a_blank_line() -> None:
    assert [*text_of([0, 4, 1], ignore_end=True)] == ["a", "\n\n", "b"]
