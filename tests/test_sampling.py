"""Ids and text that go on from a prompt."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm import sampling
from charlm.bundle import Bundle
from charlm.choice import Choice, choose
from charlm.errors import CharlmError
from charlm.rnn import Parameters, step, unroll, zero_state
from charlm.sampling import Generation, generate, generate_text, read_prompt
from charlm.vocabulary import Vocabulary

PROMPT = np.array([1, 2, 0])
GREEDY = Choice(temperature=0)
BYTES = Vocabulary(level="byte", characters=(*(chr(value) for value in range(256)), None), end_of_text_id=256)

Scripted = Callable[..., Generation]


def table(ids: Iterator[NDArray[np.int64]]) -> list[list[int]]:
    """Return the ids of each sample."""
    return [column.tolist() for column in np.stack(list(ids), axis=1)]


@pytest.fixture
def scripted(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Return generate_text with a model that writes the given texts, or lists of ids, one a sample."""

    def run(*scripts: str | list[int], vocabulary: Vocabulary = bundle.vocabulary, **options: Any) -> Generation:
        rows = [vocabulary.encode(s).tolist() if isinstance(s, str) else s for s in scripts]
        length = options.setdefault("length", 0)
        steps = list(np.array(rows, np.int64).T)
        monkeypatch.setattr(sampling, "generate", lambda *_, **__: iter(steps[: length or None]))
        return generate_text(
            replace(bundle, vocabulary=vocabulary), choice=Choice(), seed=0, samples=len(scripts), **options
        )

    return run


@pytest.fixture
def prompt_ids(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return a function from a prompt to the ids that the model gets to read."""
    seen: list[list[int]] = []

    def generate_nothing(_: Parameters, ids: NDArray[np.int64], **__: Any) -> Iterator[NDArray[np.int64]]:
        seen.append(ids.tolist())
        return iter(())

    def run(vocabulary: Vocabulary, prompt: str, **options: Any) -> list[int]:
        monkeypatch.setattr(sampling, "generate", generate_nothing)
        generate_text(
            replace(bundle, vocabulary=vocabulary), prompt=prompt, length=1, choice=GREEDY, seed=0, **options
        )
        return seen[-1]

    return run


# ids


def test_a_prompt_is_read_from_the_zero_state(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    logits, state = read_prompt(parameters, PROMPT, 3)
    expected_logits, expected_state = reference.read(parameters, PROMPT.tolist())
    np.testing.assert_allclose(logits, np.repeat(expected_logits[-1:], 3, axis=0), atol=1e-5)
    for output, expected in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(output, np.repeat(expected[None], 3, axis=0), atol=1e-5)


def test_a_prompt_read_in_blocks_leaves_the_same_state(
    random_parameters: RandomParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = random_parameters()
    monkeypatch.setattr(sampling, "PROMPT_BLOCK", 2)
    logits, _ = read_prompt(parameters, np.array([0, 1, 2, 3, 4]))
    expected, _ = unroll(parameters, np.array([[0], [1], [2], [3], [4]]), zero_state(parameters, 1))
    np.testing.assert_allclose(logits, expected[-1], atol=1e-6)


def test_an_empty_prompt_has_no_logits(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="the prompt is empty"):
        read_prompt(random_parameters(), np.array([], np.int64))


@pytest.mark.parametrize("samples", [1, 3])
def test_temperature_zero_writes_the_most_likely_ids_by_definition(
    random_parameters: RandomParameters, samples: int
) -> None:
    parameters = random_parameters(layers=2, units=8)
    expected = PROMPT.tolist()
    for _ in range(20):
        expected.append(int(reference.read(parameters, expected)[0][-1].argmax()))
    ids = generate(parameters, PROMPT, choice=GREEDY, length=20, seed=0, samples=samples)
    assert table(ids) == [expected[3:]] * samples


@pytest.mark.parametrize("samples", [1, 3])
def test_sample_k_is_chosen_by_the_random_stream_of_seed_and_k(
    random_parameters: RandomParameters, samples: int
) -> None:
    parameters, choice = random_parameters(layers=2), Choice(temperature=1.5)
    logits, state = read_prompt(parameters, PROMPT, samples)
    uniforms = np.stack([np.random.default_rng([7, k]).random(300) for k in range(samples)], axis=1)
    expected = []
    for uniform in uniforms:
        expected.append(choose(logits, choice, uniform))
        logits, state = step(parameters, expected[-1], state)
    ids = generate(parameters, PROMPT, choice=choice, length=300, seed=7, samples=samples)
    assert table(ids) == np.stack(expected, axis=1).tolist()


def test_a_sample_does_not_depend_on_how_many_there_are(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    one, two, five = (
        table(generate(parameters, PROMPT, choice=Choice(), length=50, seed=1, samples=samples))
        for samples in (1, 2, 5)
    )
    assert five[:2] == two
    assert five[:1] == one


def test_samples_and_seeds_differ_and_a_seed_repeats(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    first, again, other = (
        table(generate(parameters, PROMPT, choice=Choice(), length=50, seed=seed, samples=2)) for seed in (1, 1, 2)
    )
    assert first == again
    assert len({tuple(ids) for ids in [*first, *other]}) == 4


@pytest.mark.parametrize("choice", [GREEDY, Choice(temperature=5)], ids=str)
@pytest.mark.parametrize("samples", [1, 3])
def test_a_forbidden_id_is_never_chosen(random_parameters: RandomParameters, choice: Choice, samples: int) -> None:
    ids = generate(
        random_parameters(), PROMPT, choice=choice, length=200, seed=0, samples=samples, forbidden=[0, 4]
    )
    assert {index for row in table(ids) for index in row} <= {1, 2, 3}


def test_no_length_goes_on_for_ever(random_parameters: RandomParameters) -> None:
    ids = generate(random_parameters(), PROMPT, choice=Choice(), length=None, seed=0)
    assert len(list(islice(ids, 2000))) == 2000


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("--seed -1", {"seed": -1}),
        ("--samples 0", {"samples": 0}),
        ("no character to choose", {"forbidden": range(5)}),
    ],
)
def test_options_are_refused_before_anything_is_generated(
    random_parameters: RandomParameters, message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(CharlmError, match=message):
        generate(random_parameters(), PROMPT, choice=Choice(), length=1, **{"seed": 0, **options})


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("choice", [GREEDY, Choice(), Choice(top_p=0.5)], ids=str)
def test_weights_that_are_not_finite_are_reported(
    random_parameters: RandomParameters, choice: Choice, samples: int
) -> None:
    parameters = random_parameters(scale=float("nan"))
    with pytest.raises(CharlmError, match="not finite"):
        table(generate(parameters, PROMPT, choice=choice, length=1, seed=0, samples=samples))


# prompts


def test_a_prompt_is_read_as_its_ids(prompt_ids: Callable[..., list[int]], vocabulary: Vocabulary) -> None:
    assert prompt_ids(vocabulary, "ab\na") == [1, 2, 0, 1]


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
def test_an_empty_prompt_begins_after_an_end_of_text_a_line_break_or_the_first_id(
    prompt_ids: Callable[..., list[int]], vocabulary: Vocabulary, expected: list[int]
) -> None:
    assert prompt_ids(vocabulary, "") == expected


def test_unknown_characters_of_a_prompt_are_skipped_on_demand(
    prompt_ids: Callable[..., list[int]],
) -> None:
    letters = Vocabulary("char", ("a", "b"))
    assert prompt_ids(letters, "axb", unknown="skip") == [0, 1]
    assert prompt_ids(letters, "xyz", unknown="skip") == [0]


def test_an_unknown_character_of_a_prompt_is_named(prompt_ids: Callable[..., list[int]]) -> None:
    with pytest.raises(CharlmError, match=r"'x' \(U\+0078\)"):
        prompt_ids(Vocabulary("char", ("a", "b")), "axb")


# text


def test_the_pieces_make_up_the_samples(bundle: Bundle) -> None:
    generation = generate_text(bundle, prompt="ab", length=50, choice=Choice(), seed=3, samples=4)
    steps = list(generation)
    texts = ["".join(pieces) for pieces in zip(*steps, strict=True)]
    assert [sample.text for sample in generation.samples] == texts
    assert [sample.characters for sample in generation.samples] == [len(text) for text in texts]


def test_the_unknown_id_is_never_chosen(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=500, choice=Choice(temperature=9), seed=0, ignore_end=True)
    assert set("".join(piece for (piece,) in generation)) == {"\n", "a", "b"}


def test_a_sample_ends_at_the_length(scripted: Scripted) -> None:
    generation = scripted("abab", length=3)
    assert list(generation) == [["a"], ["b"], ["a"]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("aba", 3, "length")]


def test_a_negative_length_is_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="--length -1: should be 0"):
        generate_text(bundle, length=-1, choice=Choice(), seed=0)


def test_a_sample_that_could_go_on_has_not_been_stopped(scripted: Scripted) -> None:
    generation = scripted("abab")
    assert list(islice(generation, 2)) == [["a"], ["b"]]
    assert [(s.text, s.stopped_by) for s in generation.samples] == [("ab", None)]


def test_text_that_may_begin_the_stop_text_is_held_back(scripted: Scripted) -> None:
    generation = scripted("aaabaa", stop="aab")
    assert list(generation) == [[""], [""], ["a"], [""]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("a", 1, "stop text")]


def test_text_held_back_in_vain_comes_with_the_character_that_decides(scripted: Scripted) -> None:
    assert list(scripted("aab\n", stop="abb", length=4)) == [[""], ["a"], [""], ["ab\n"]]


def test_text_held_back_is_released_at_the_length(scripted: Scripted) -> None:
    generation = scripted("baa", stop="aab", length=3)
    assert list(generation) == [["b"], [""], ["aa"]]
    assert generation.samples[0].stopped_by == "length"


def test_text_held_back_is_released_at_the_end_of_the_text(scripted: Scripted) -> None:
    generation = scripted([2, 1, 4, 1], stop="aab")
    assert list(generation) == [["b"], [""], ["a"]]
    assert generation.samples[0].stopped_by == "end of text"


def test_a_stop_text_that_the_last_character_completes_stops(scripted: Scripted) -> None:
    generation = scripted("ba", stop="a", length=2)
    assert list(generation) == [["b"], [""]]
    assert generation.samples[0].stopped_by == "stop text"


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("ab", min_size=1, max_size=20), stop=st.text("ab", min_size=1, max_size=5))
def test_a_sample_ends_just_before_the_first_stop_text(scripted: Scripted, text: str, stop: str) -> None:
    generation = scripted(text, stop=stop, length=len(text))
    pieces = "".join(piece for (piece,) in generation)
    assert pieces == generation.samples[0].text == text.split(stop, 1)[0]
    assert generation.samples[0].stopped_by == ("stop text" if stop in text else "length")


def test_the_end_of_text_ends_a_sample(scripted: Scripted) -> None:
    generation = scripted([1, 2, 4, 1])
    assert list(generation) == [["a"], ["b"], [""]]
    assert [(s.text, s.stopped_by) for s in generation.samples] == [("ab", "end of text")]


def test_an_end_of_text_that_is_ignored_reads_as_a_blank_line(scripted: Scripted) -> None:
    generation = scripted([1, 4, 2], ignore_end=True, length=3)
    assert list(generation) == [["a"], ["\n\n"], ["b"]]
    assert [(s.text, s.characters) for s in generation.samples] == [("a\n\nb", 4)]


def test_a_stop_text_is_found_across_an_end_of_text_that_is_ignored(scripted: Scripted) -> None:
    generation = scripted([1, 4, 2], ignore_end=True, stop="\n\nb")
    assert list(generation) == [["a"], [""], [""]]
    assert generation.samples[0].stopped_by == "stop text"


def test_a_sample_that_has_ended_waits_for_the_others(scripted: Scripted) -> None:
    generation = scripted([1, 4, 2, 2], [2, 2, 4, 1])
    assert list(generation) == [["a", "b"], ["", "b"], ["", ""]]
    assert [sample.text for sample in generation.samples] == ["a", "bb"]


def test_bytes_are_held_back_until_they_make_a_character(scripted: Scripted) -> None:
    generation = scripted("aé€", vocabulary=BYTES, length=6)
    assert list(generation) == [["a"], [""], ["é"], [""], [""], ["€"]]
    assert [(s.text, s.characters) for s in generation.samples] == [("aé€", 3)]


def test_bytes_cut_short_by_the_length_read_as_one_replacement_character(scripted: Scripted) -> None:
    assert list(scripted("a€", vocabulary=BYTES, length=3)) == [["a"], [""], ["\ufffd"]]


def test_bytes_cut_short_by_an_end_of_text_read_as_one_replacement_character(scripted: Scripted) -> None:
    ids = [*"€".encode()[:2], 256, ord("a")]
    generation = scripted(ids, vocabulary=BYTES, ignore_end=True, length=4)
    assert list(generation) == [[""], [""], ["\ufffd\n\n"], ["a"]]


def test_a_stop_text_of_several_bytes_is_found(scripted: Scripted) -> None:
    generation = scripted("aéz", vocabulary=BYTES, stop="é")
    assert "".join(piece for (piece,) in generation) == "a"


def test_a_text_that_is_not_kept_comes_in_pieces_all_the_same(scripted: Scripted) -> None:
    generation = scripted("ab", length=2, keep_text=False)
    assert list(generation) == [["a"], ["b"]]
    assert [(s.text, s.characters, s.stopped_by) for s in generation.samples] == [("", 2, "length")]


def test_a_length_of_zero_is_endless(bundle: Bundle) -> None:
    generation = generate_text(bundle, length=0, choice=Choice(), seed=0, ignore_end=True)
    assert sum(1 for _ in takewhile(lambda step: step[0] < 1000, enumerate(generation))) == 1000
