"""The ids and the text that follow a prompt."""

from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import step
from charlm.sampling.generation import Generation, encode_prompt, generate, generate_text, generate_texts, read_prompt
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Vocabulary

PROMPT = np.array([1, 2, 0])
GREEDY = Sampler(temperature=0)
LETTERS = Vocabulary("char", ("\n", "a", "b", None, None), unknown_id=3, end_of_text_id=4)
BYTES = Vocabulary(level="byte", characters=(*(chr(value) for value in range(256)), None), end_of_text_id=256)


@pytest.fixture
def endless(bundle: Bundle) -> Bundle:
    """Return a model without reserved ids, which never ends a text."""
    return replace(bundle, vocabulary=Vocabulary("char", tuple("abcde")))


def scripted(script: str | list[int], *, vocabulary: Vocabulary = LETTERS, **options: Any) -> Generation:
    """Return a Generation whose model writes the given text, or list of ids."""
    ids = vocabulary.encode(script).tolist() if isinstance(script, str) else script
    length = options.pop("length", 0)
    return Generation(iter(ids[: length or None]), vocabulary, length=length, **options)


# Ids


@pytest.mark.parametrize("block", [2, 100])
def test_prompt_is_read_from_the_zero_state_in_blocks(random_parameters: RandomParameters, block: int) -> None:
    parameters = random_parameters(layers=2)
    logits, state = read_prompt(parameters, PROMPT, block=block)
    expected_logits, expected_state = reference.read(parameters, PROMPT.tolist())
    np.testing.assert_allclose(logits, expected_logits[-1], atol=1e-5)
    for output, expected in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(output, expected[None], atol=1e-5)


def test_prompt_without_ids_is_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="the prompt is empty"):
        read_prompt(random_parameters(), np.array([], np.int64))


def test_temperature_zero_chooses_the_most_likely_ids(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2, units=8)
    expected = PROMPT.tolist()
    for _ in range(20):
        expected.append(int(reference.read(parameters, expected)[0][-1].argmax()))
    assert [*generate(parameters, PROMPT, sampler=GREEDY, length=20, seed=0)] == expected[3:]


def test_ids_are_chosen_by_the_random_stream_of_the_seed(random_parameters: RandomParameters) -> None:
    parameters, choose = random_parameters(layers=2), make_chooser(Sampler(temperature=1.5))
    logits, state = read_prompt(parameters, PROMPT)
    expected = []
    for uniform in np.random.default_rng([7, 0]).random(300).tolist():
        expected.append(choose(logits, uniform))
        (logits,), state = step(parameters, np.array(expected[-1:]), state)
    assert [*generate(parameters, PROMPT, sampler=Sampler(temperature=1.5), length=300, seed=7)] == expected


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(temperature=5)], ids=str)
def test_forbidden_id_is_never_chosen(random_parameters: RandomParameters, sampler: Sampler) -> None:
    ids = generate(random_parameters(), PROMPT, sampler=sampler, length=200, seed=0, forbidden=[0, 4])
    assert {*ids} <= {1, 2, 3}


@pytest.mark.parametrize(
    ("message", "options"),
    [("seed: found -1", {"seed": -1}), ("no character to choose", {"forbidden": range(5)})],
)
def test_wrong_options_are_refused_before_anything_is_generated(
    random_parameters: RandomParameters, message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(CharlmError, match=message):
        generate(random_parameters(), PROMPT, sampler=Sampler(), length=1, **{"seed": 0, **options})


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(top_p=0.5)], ids=str)
def test_weights_that_are_not_finite_are_refused(bundle: Bundle, sampler: Sampler) -> None:
    broken = replace(bundle.parameters, logits_bias=np.full(5, np.nan, np.float32))
    with pytest.raises(CharlmError, match="not finite"):
        list(generate(broken, PROMPT, sampler=sampler, length=1, seed=0))
    with pytest.raises(CharlmError, match="not finite"):
        generate_texts(replace(bundle, parameters=broken), samples=3, length=1, sampler=sampler, seed=0)


# Several texts


def test_a_sample_does_not_depend_on_the_number_of_samples(bundle: Bundle) -> None:
    def texts(samples: int, **options: Any) -> list[str]:
        wanted = {"prompt": "ab", "length": 300, "sampler": Sampler(temperature=2), "seed": 1, "ignore_end": True}
        return [sample.text for sample in generate_texts(bundle, samples=samples, **{**wanted, **options})]

    many = texts(70)  # more than there are slots
    assert texts(2) == many[:2]
    assert texts(5) == many[:5]
    assert len({*many}) == 70
    assert texts(2, seed=2) != texts(2)


@pytest.mark.parametrize("stop", [None, "ba"])
@pytest.mark.parametrize("ignore_end", [False, True])
def test_the_first_of_several_samples_is_the_text_that_is_written_alone(
    bundle: Bundle, stop: str | None, ignore_end: bool
) -> None:
    for seed in range(5):
        alone = generate_text(
            bundle, prompt="ab", length=40, sampler=Sampler(), seed=seed, stop=stop, ignore_end=ignore_end
        )
        pieces = list(alone)
        first, _ = generate_texts(
            bundle, samples=2, prompt="ab", length=40, sampler=Sampler(), seed=seed, stop=stop, ignore_end=ignore_end
        )
        assert first == alone.sample
        assert "".join(pieces) == first.text


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"seed": -1}, {"length": 0}])
def test_numbers_out_of_range_are_refused(bundle: Bundle, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(CharlmError, match=f"{name}: found {wrong[name]}; must be"):
        generate_texts(bundle, sampler=GREEDY, **{"samples": 2, "seed": 0, "length": 5, **wrong})


# Prompts


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


# Text


@pytest.mark.parametrize("prompt", ["ab\na", "axb", ""])
def test_text_follows_the_ids_of_the_prompt(bundle: Bundle, prompt: str) -> None:
    generation = generate_text(bundle, prompt=prompt, length=30, sampler=Sampler(), seed=3, unknown="skip")
    pieces = list(generation)
    expected = generate(
        bundle.parameters,
        encode_prompt(bundle.vocabulary, prompt, unknown="skip"),
        sampler=Sampler(),
        length=len(pieces),
        seed=3,
        forbidden=[3],  # the unknown id
    )
    assert "".join(pieces) == bundle.vocabulary.decode(np.array([*expected]))


def test_unknown_character_of_the_prompt_is_refused(endless: Bundle) -> None:
    with pytest.raises(CharlmError, match=r"'x' \(U\+0078\)"):
        generate_text(endless, prompt="axb", length=1, sampler=GREEDY, seed=0)


def test_unknown_id_is_never_chosen(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=500, sampler=Sampler(temperature=9), seed=0, ignore_end=True)
    assert set("".join(piece for piece in generation)) == {"\n", "a", "b"}


def test_sample_ends_at_the_length() -> None:
    generation = scripted("abab", length=3)
    assert list(generation) == ["a", "b", "a"]
    assert (generation.sample.text, generation.sample.characters, generation.sample.stopped_by) == ("aba", 3, "length")


def test_negative_length_is_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="length: found -1; must be 0"):
        generate_text(bundle, length=-1, sampler=Sampler(), seed=0)


def test_possible_beginning_of_the_stop_text_is_held_back() -> None:
    generation = scripted("aaabaa", stop="aab")
    assert list(generation) == ["", "", "a", ""]
    assert (generation.sample.text, generation.sample.characters, generation.sample.stopped_by) == ("a", 1, "stop text")


def test_text_held_back_is_released_when_it_cannot_become_the_stop_text() -> None:
    assert list(scripted("aab\n", stop="abb", length=4)) == ["", "a", "", "ab\n"]


def test_text_held_back_is_released_at_the_end_of_the_text() -> None:
    generation = scripted([2, 1, 4, 1], stop="aab")
    assert list(generation) == ["b", "", "a"]
    assert generation.sample.stopped_by == "end of text"


@settings(derandomize=True, deadline=None)
@given(text=st.text("ab", min_size=1, max_size=20), stop=st.text("ab", min_size=1, max_size=5))
def test_sample_ends_just_before_the_first_stop_text(text: str, stop: str) -> None:
    generation = scripted(text, stop=stop, length=len(text))
    pieces = "".join(piece for piece in generation)
    assert pieces == generation.sample.text == text.split(stop, 1)[0]
    assert generation.sample.stopped_by == ("stop text" if stop in text else "length")


def test_ignored_end_of_text_becomes_a_blank_line() -> None:
    generation = scripted([1, 4, 2], ignore_end=True, length=3)
    assert list(generation) == ["a", "\n\n", "b"]
    assert (generation.sample.text, generation.sample.characters) == ("a\n\nb", 4)


def test_stop_text_may_contain_an_ignored_end_of_text() -> None:
    generation = scripted([1, 4, 2], ignore_end=True, stop="\n\nb")
    assert list(generation) == ["a", "", ""]
    assert generation.sample.stopped_by == "stop text"


def test_bytes_are_held_back_until_they_make_a_character() -> None:
    generation = scripted("aé€", vocabulary=BYTES, length=6)
    assert list(generation) == ["a", "", "é", "", "", "€"]
    assert (generation.sample.text, generation.sample.characters) == ("aé€", 3)


def test_incomplete_character_before_an_end_of_text_becomes_a_replacement_character() -> None:
    ids = [*"€".encode()[:2], 256, ord("a")]
    generation = scripted(ids, vocabulary=BYTES, ignore_end=True, length=4)
    assert list(generation) == ["", "", "\ufffd\n\n", "a"]


def test_text_that_is_not_kept_is_still_yielded_in_pieces() -> None:
    generation = scripted("ab", length=2, keep_text=False)
    assert list(generation) == ["a", "b"]
    assert (generation.sample.text, generation.sample.characters, generation.sample.stopped_by) == ("", 2, "length")


def test_length_of_zero_has_no_end(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=0, sampler=Sampler(), seed=0, ignore_end=True)
    assert sum(1 for _ in takewhile(lambda pair: pair[0] < 1000, enumerate(generation))) == 1000


@given(st.binary(min_size=1, max_size=20))
def test_bytes_of_a_sample_are_those_that_the_model_chose(data: bytes) -> None:
    script, length = list(data), len(data)
    generation = scripted(script, vocabulary=BYTES, length=length)
    assert b"".join(piece for piece in generation.as_bytes()) == data
    sample = generation.sample
    text = data.decode("utf-8", "replace")
    assert (sample.data, sample.text, sample.characters) == (data, text, len(text))
    assert "".join(piece for piece in scripted(script, vocabulary=BYTES, length=length)) == text


def test_stop_text_may_be_a_byte_that_is_not_utf_8() -> None:
    generation = scripted([0x61, 0xFF, 0x62], vocabulary=BYTES, stop=b"\xff".decode("utf-8", "surrogateescape"))
    assert list(generation.as_bytes()) == [b"a", b""]
