"""The ids and the text that follow a prompt."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import step, unroll, zero_state
from charlm.sampling.generation import Generation, encode_prompt, generate, generate_text, read_prompt
from charlm.sampling.sampler import Sampler, choose
from charlm.text.vocabulary import Vocabulary

PROMPT = np.array([1, 2, 0])
GREEDY = Sampler(temperature=0)
LETTERS = Vocabulary("char", ("\n", "a", "b", None, None), unknown_id=3, end_of_text_id=4)
BYTES = Vocabulary(level="byte", characters=(*(chr(value) for value in range(256)), None), end_of_text_id=256)


@pytest.fixture
def endless(bundle: Bundle) -> Bundle:
    """Return a model without reserved ids, which never ends a text."""
    return replace(bundle, vocabulary=Vocabulary("char", tuple("abcde")))


def table(ids: Iterator[NDArray[np.int64]]) -> list[list[int]]:
    """Return the ids of each sample."""
    return [column.tolist() for column in np.stack(list(ids), axis=1)]


def scripted(*scripts: str | list[int], vocabulary: Vocabulary = LETTERS, **options: Any) -> Generation:
    """Return a Generation whose model writes the given texts, or lists of ids, one for each sample."""
    rows = [vocabulary.encode(s).tolist() if isinstance(s, str) else s for s in scripts]
    length = options.pop("length", 0)
    ids = iter(list(np.array(rows, np.int64).T)[: length or None])
    return Generation(ids, vocabulary, samples=len(scripts), length=length, **options)


# Ids


def test_prompt_is_read_from_the_zero_state(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    logits, state = read_prompt(parameters, PROMPT, batch=3)
    expected_logits, expected_state = reference.read(parameters, PROMPT.tolist())
    np.testing.assert_allclose(logits, np.repeat(expected_logits[-1:], 3, axis=0), atol=1e-5)
    for output, expected in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(output, np.repeat(expected[None], 3, axis=0), atol=1e-5)


def test_reading_a_prompt_in_blocks_does_not_change_the_result(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters()
    logits, state = read_prompt(parameters, np.array([0, 1, 2, 3, 4]), block=2)
    expected, expected_state = unroll(parameters, np.array([[0], [1], [2], [3], [4]]), zero_state(parameters, 1))
    np.testing.assert_allclose(logits, expected[-1], atol=1e-6)
    np.testing.assert_allclose(state[0], expected_state[0], atol=1e-6)


def test_prompt_without_ids_is_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="the prompt is empty"):
        read_prompt(random_parameters(), np.array([], np.int64))


@pytest.mark.parametrize("samples", [1, 3])
def test_temperature_zero_chooses_the_most_likely_ids(random_parameters: RandomParameters, samples: int) -> None:
    parameters = random_parameters(layers=2, units=8)
    expected = PROMPT.tolist()
    for _ in range(20):
        expected.append(int(reference.read(parameters, expected)[0][-1].argmax()))
    ids = generate(parameters, PROMPT, sampler=GREEDY, length=20, seed=0, samples=samples)
    assert table(ids) == [expected[3:]] * samples


@pytest.mark.parametrize("samples", [1, 3])
def test_sample_k_is_chosen_by_the_random_stream_of_seed_and_k(
    random_parameters: RandomParameters, samples: int
) -> None:
    parameters, sampler = random_parameters(layers=2), Sampler(temperature=1.5)
    logits, state = read_prompt(parameters, PROMPT, batch=samples)
    uniforms = np.stack([np.random.default_rng([7, k]).random(300) for k in range(samples)], axis=1)
    expected = []
    for uniform in uniforms:
        expected.append(choose(logits, sampler, uniform))
        logits, state = step(parameters, expected[-1], state)
    ids = generate(parameters, PROMPT, sampler=sampler, length=300, seed=7, samples=samples)
    assert table(ids) == np.stack(expected, axis=1).tolist()


def test_sample_does_not_depend_on_the_number_of_samples(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    one, two, five = (
        table(generate(parameters, PROMPT, sampler=Sampler(), length=50, seed=1, samples=samples))
        for samples in (1, 2, 5)
    )
    assert five[:2] == two
    assert five[:1] == one


def test_samples_and_seeds_differ_and_a_seed_repeats_its_samples(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    first, again, other = (
        table(generate(parameters, PROMPT, sampler=Sampler(), length=50, seed=seed, samples=2)) for seed in (1, 1, 2)
    )
    assert first == again
    assert len({tuple(ids) for ids in [*first, *other]}) == 4


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(temperature=5)], ids=str)
@pytest.mark.parametrize("samples", [1, 3])
def test_forbidden_id_is_never_chosen(random_parameters: RandomParameters, sampler: Sampler, samples: int) -> None:
    ids = generate(random_parameters(), PROMPT, sampler=sampler, length=200, seed=0, samples=samples, forbidden=[0, 4])
    assert {index for row in table(ids) for index in row} <= {1, 2, 3}


def test_without_a_length_there_is_no_end(random_parameters: RandomParameters) -> None:
    ids = generate(random_parameters(), PROMPT, sampler=Sampler(), length=None, seed=0)
    assert len(list(islice(ids, 2000))) == 2000


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("--seed -1", {"seed": -1}),
        ("--samples 0", {"samples": 0}),
        ("no character to choose", {"forbidden": range(5)}),
    ],
)
def test_wrong_options_are_refused_before_anything_is_generated(
    random_parameters: RandomParameters, message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(CharlmError, match=message):
        generate(random_parameters(), PROMPT, sampler=Sampler(), length=1, **{"seed": 0, **options})


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(top_p=0.5)], ids=str)
def test_weights_that_are_not_finite_are_refused(
    random_parameters: RandomParameters, sampler: Sampler, samples: int
) -> None:
    parameters = random_parameters(scale=float("nan"))
    with pytest.raises(CharlmError, match="not finite"):
        table(generate(parameters, PROMPT, sampler=sampler, length=1, seed=0, samples=samples))


# Prompts


def test_prompt_is_read_as_its_ids() -> None:
    assert encode_prompt(LETTERS, "ab\na").tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        (Vocabulary("char", ("a", "\n", None), end_of_text_id=2), [2]),
        (Vocabulary("char", ("a", "\n")), [1]),
        (Vocabulary("char", ("a", "b")), [0]),
        (BYTES, [256]),
    ],
    ids=["end of text", "line break", "first id", "bytes"],
)
def test_empty_prompt_is_read_as_an_end_of_text_a_line_break_or_the_first_id(
    vocabulary: Vocabulary, expected: list[int]
) -> None:
    assert encode_prompt(vocabulary, "").tolist() == expected


def test_unknown_characters_of_a_prompt_are_skipped_if_asked_for() -> None:
    letters = Vocabulary("char", ("a", "b"))
    assert encode_prompt(letters, "axb", unknown="skip").tolist() == [0, 1]
    assert encode_prompt(letters, "xyz", unknown="skip").tolist() == [0]


def test_unknown_character_of_a_prompt_is_named() -> None:
    with pytest.raises(CharlmError, match=r"'x' \(U\+0078\)"):
        encode_prompt(Vocabulary("char", ("a", "b")), "axb")


# Text


@pytest.mark.parametrize("prompt", ["ab\na", "axb", ""])
def test_text_follows_the_ids_of_the_prompt(bundle: Bundle, prompt: str) -> None:
    generation = generate_text(bundle, prompt=prompt, length=30, sampler=Sampler(), seed=3, unknown="skip")
    (pieces,) = zip(*generation, strict=True)
    expected = generate(
        bundle.parameters,
        encode_prompt(bundle.vocabulary, prompt, unknown="skip"),
        sampler=Sampler(),
        length=len(pieces),
        seed=3,
        forbidden=[3],  # the unknown id
    )
    assert "".join(pieces) == bundle.vocabulary.decode(np.concatenate(list(expected)))


def test_unknown_character_of_the_prompt_is_refused(endless: Bundle) -> None:
    with pytest.raises(CharlmError, match=r"'x' \(U\+0078\)"):
        generate_text(endless, prompt="axb", length=1, sampler=GREEDY, seed=0)


def test_text_ends_before_the_stop_text(endless: Bundle) -> None:
    whole, stopped = (generate_text(endless, length=60, sampler=Sampler(), seed=5, stop=stop) for stop in (None, "ecb"))
    text = "".join(piece for (piece,) in whole)
    assert "ecb" in text
    assert "".join(piece for (piece,) in stopped) == text[: text.index("ecb")]


def test_pieces_add_up_to_the_samples(bundle: Bundle) -> None:
    generation = generate_text(bundle, prompt="ab", length=50, sampler=Sampler(), seed=3, samples=4)
    steps = list(generation)
    texts = ["".join(pieces) for pieces in zip(*steps, strict=True)]
    assert [sample.text for sample in generation.samples] == texts
    assert [sample.characters for sample in generation.samples] == [len(text) for text in texts]


def test_unknown_id_is_never_chosen(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=500, sampler=Sampler(temperature=9), seed=0, ignore_end=True)
    assert set("".join(piece for (piece,) in generation)) == {"\n", "a", "b"}


def test_sample_ends_at_the_length() -> None:
    generation = scripted("abab", length=3)
    assert list(generation) == [["a"], ["b"], ["a"]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("aba", 3, "length")]


def test_negative_length_is_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="--length -1: must be 0"):
        generate_text(bundle, length=-1, sampler=Sampler(), seed=0)


def test_sample_that_can_go_on_has_not_been_stopped() -> None:
    generation = scripted("abab")
    assert list(islice(generation, 2)) == [["a"], ["b"]]
    assert [(s.text, s.stopped_by) for s in generation.samples] == [("ab", None)]


def test_possible_beginning_of_the_stop_text_is_held_back() -> None:
    generation = scripted("aaabaa", stop="aab")
    assert list(generation) == [[""], [""], ["a"], [""]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("a", 1, "stop text")]


def test_text_held_back_is_released_when_it_cannot_become_the_stop_text() -> None:
    assert list(scripted("aab\n", stop="abb", length=4)) == [[""], ["a"], [""], ["ab\n"]]


def test_text_held_back_is_released_at_the_length() -> None:
    generation = scripted("baa", stop="aab", length=3)
    assert list(generation) == [["b"], [""], ["aa"]]
    assert generation.samples[0].stopped_by == "length"


def test_text_held_back_is_released_at_the_end_of_the_text() -> None:
    generation = scripted([2, 1, 4, 1], stop="aab")
    assert list(generation) == [["b"], [""], ["a"]]
    assert generation.samples[0].stopped_by == "end of text"


def test_stop_text_completed_by_the_last_character_stops_the_sample() -> None:
    generation = scripted("ba", stop="a", length=2)
    assert list(generation) == [["b"], [""]]
    assert generation.samples[0].stopped_by == "stop text"


@settings(derandomize=True, deadline=None)
@given(text=st.text("ab", min_size=1, max_size=20), stop=st.text("ab", min_size=1, max_size=5))
def test_sample_ends_just_before_the_first_stop_text(text: str, stop: str) -> None:
    generation = scripted(text, stop=stop, length=len(text))
    pieces = "".join(piece for (piece,) in generation)
    assert pieces == generation.samples[0].text == text.split(stop, 1)[0]
    assert generation.samples[0].stopped_by == ("stop text" if stop in text else "length")


def test_end_of_text_ends_a_sample() -> None:
    generation = scripted([1, 2, 4, 1])
    assert list(generation) == [["a"], ["b"], [""]]
    assert [(s.text, s.stopped_by) for s in generation.samples] == [("ab", "end of text")]


def test_ignored_end_of_text_becomes_a_blank_line() -> None:
    generation = scripted([1, 4, 2], ignore_end=True, length=3)
    assert list(generation) == [["a"], ["\n\n"], ["b"]]
    assert [(s.text, s.characters) for s in generation.samples] == [("a\n\nb", 4)]


def test_stop_text_may_contain_an_ignored_end_of_text() -> None:
    generation = scripted([1, 4, 2], ignore_end=True, stop="\n\nb")
    assert list(generation) == [["a"], [""], [""]]
    assert generation.samples[0].stopped_by == "stop text"


def test_sample_that_has_ended_yields_nothing_until_the_others_end() -> None:
    generation = scripted([1, 4, 2, 2], [2, 2, 4, 1])
    assert list(generation) == [["a", "b"], ["", "b"], ["", ""]]
    assert [sample.text for sample in generation.samples] == ["a", "bb"]


def test_bytes_are_held_back_until_they_make_a_character() -> None:
    generation = scripted("aé€", vocabulary=BYTES, length=6)
    assert list(generation) == [["a"], [""], ["é"], [""], [""], ["€"]]
    assert [(s.text, s.characters) for s in generation.samples] == [("aé€", 3)]


def test_incomplete_character_at_the_length_becomes_a_replacement_character() -> None:
    assert list(scripted("a€", vocabulary=BYTES, length=3)) == [["a"], [""], ["\ufffd"]]


def test_incomplete_character_before_an_end_of_text_becomes_a_replacement_character() -> None:
    ids = [*"€".encode()[:2], 256, ord("a")]
    generation = scripted(ids, vocabulary=BYTES, ignore_end=True, length=4)
    assert list(generation) == [[""], [""], ["\ufffd\n\n"], ["a"]]


def test_stop_text_may_have_characters_of_several_bytes() -> None:
    generation = scripted("aéz", vocabulary=BYTES, stop="é")
    assert "".join(piece for (piece,) in generation) == "a"


def test_text_has_the_length_that_was_asked_for(endless: Bundle) -> None:
    generation = generate_text(endless, length=7, sampler=Sampler(), seed=0, keep_text=False)
    assert len("".join(piece for (piece,) in generation)) == 7
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("", 7, "length")]


def test_text_that_is_not_kept_is_still_yielded_in_pieces() -> None:
    generation = scripted("ab", length=2, keep_text=False)
    assert list(generation) == [["a"], ["b"]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("", 2, "length")]


def test_length_of_zero_has_no_end(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=0, sampler=Sampler(), seed=0, ignore_end=True)
    assert sum(1 for _ in takewhile(lambda step: step[0] < 1000, enumerate(generation))) == 1000


@given(st.binary(min_size=1, max_size=20))
def test_bytes_of_a_sample_are_those_that_the_model_chose(data: bytes) -> None:
    script, length = list(data), len(data)
    generation = scripted(script, vocabulary=BYTES, length=length)
    assert b"".join(piece for (piece,) in generation.as_bytes()) == data
    (sample,) = generation.samples
    text = data.decode("utf-8", "replace")
    assert (sample.data, sample.text, sample.characters) == (data, text, len(text))
    assert "".join(piece for (piece,) in scripted(script, vocabulary=BYTES, length=length)) == text


def test_bytes_of_characters_are_their_utf_8() -> None:
    generation = scripted("ab\n", length=3)
    assert list(generation.as_bytes()) == [[b"a"], [b"b"], [b"\n"]]
    assert generation.samples[0].data == b"ab\n"


def test_stop_text_may_be_a_byte_that_is_not_utf_8() -> None:
    generation = scripted([0x61, 0xFF, 0x62], vocabulary=BYTES, stop=b"\xff".decode("utf-8", "surrogateescape"))
    assert list(generation.as_bytes()) == [[b"a"], [b""]]
