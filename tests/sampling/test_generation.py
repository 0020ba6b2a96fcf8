"""The ids and the text that follow a prompt."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from conftest import RandomParameters
from limits import memory_limit

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.sampling.generation import (
    PROMPT_BLOCK,
    GeneratedText,
    TextRequest,
    encode_prompt,
    forbidden_ids,
    generate,
    generate_text,
    generate_texts,
    read_prompt,
)
from charlm.sampling.growing import Sample
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Vocabulary

PROMPT = np.array([1, 2, 0])
GREEDY = Sampler(temperature=0)
LETTERS = Vocabulary(("\n", "a", "b", None, None), unknown_id=3, end_of_text_id=4)


def scripted(script: str | list[int], *, vocabulary: Vocabulary = LETTERS, **options: Any) -> GeneratedText:
    """Return the text of a model that writes a text, or a list of ids; it ends with the last of them."""
    ids = vocabulary.encode(script).tolist() if isinstance(script, str) else script
    return GeneratedText(iter(ids), vocabulary, TextRequest(len(ids), GREEDY, seed=0, **options))


# Ids


@pytest.mark.parametrize("length", [3, PROMPT_BLOCK, PROMPT_BLOCK + 2])
def test_a_prompt_is_read_from_the_zero_state_also_in_parts(random_parameters: RandomParameters, length: int) -> None:
    parameters, prompt = random_parameters(layers=2, scale=0.5), np.arange(length) % 5
    state = read_prompt(parameters, prompt[1:], read_prompt(parameters, prompt[:1]))
    check_close(state, read_prompt(parameters, prompt), atol=1e-5)
    _, expected = reference.read(parameters, prompt.tolist())
    check_close([output[0] for output in state], expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_ids_are_chosen_by_the_random_stream_of_the_seed(
    random_parameters: RandomParameters, temperature: float
) -> None:
    parameters, sampler = random_parameters(layers=2), Sampler(temperature=temperature)
    text, choose = PROMPT.tolist(), make_chooser(sampler)
    for uniform in np.random.default_rng([7, 0]).random(60).tolist():
        text.append(choose(reference.read(parameters, text)[0][-1].astype(np.float32), uniform))
    assert [*generate(parameters, PROMPT, sampler=sampler, length=60, seed=7)] == text[3:]


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(temperature=5)], ids=str)
def test_forbidden_id_is_never_chosen(random_parameters: RandomParameters, sampler: Sampler) -> None:
    ids = generate(random_parameters(), PROMPT, sampler=sampler, length=200, seed=0, forbidden=[0, 4])
    assert {*ids} <= {1, 2, 3}


def test_a_model_without_a_character_to_choose_is_refused() -> None:
    with pytest.raises(CharlmError, match="no character to choose"):
        forbidden_ids(Vocabulary((None,), unknown_id=0))
    assert forbidden_ids(LETTERS) == {3}
    assert forbidden_ids(Vocabulary(("a",))) == set()


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(top_p=0.5)], ids=str)
def test_weights_that_are_not_finite_are_refused(bundle: Bundle, sampler: Sampler) -> None:
    broken = replace(bundle.parameters, logits_bias=np.full(5, np.nan, np.float32))
    with pytest.raises(CharlmError, match="not finite"):
        list(generate(broken, PROMPT, sampler=sampler, length=1, seed=0))
    with pytest.raises(CharlmError, match="not finite"):
        generate_texts(replace(bundle, parameters=broken), TextRequest(1, sampler, seed=0), samples=3)


# Several texts


def test_a_sample_does_not_depend_on_the_number_of_samples(bundle: Bundle) -> None:
    def texts(samples: int, *, seed: int = 1) -> list[str]:
        wanted = TextRequest(300, Sampler(temperature=2), seed, prompt="ab", ignore_end=True)
        return [sample.text for sample in generate_texts(bundle, wanted, samples=samples)]

    many = texts(70)  # more than there are slots
    assert texts(2) == many[:2]
    assert texts(5) == many[:5]
    assert len({*many}) == 70
    assert texts(2, seed=2) != texts(2)


@pytest.mark.parametrize("stop", ["", "ba"])
@pytest.mark.parametrize("ignore_end", [False, True])
def test_the_first_of_several_samples_is_the_text_that_is_written_alone(
    bundle: Bundle, stop: str, *, ignore_end: bool
) -> None:
    for seed in range(5):
        wanted = TextRequest(40, Sampler(), seed, prompt="ab", stop=stop, ignore_end=ignore_end)
        alone = generate_text(bundle, wanted)
        pieces = list(alone)
        first, _ = generate_texts(bundle, wanted, samples=2)
        assert first == alone.finish()
        assert "".join(pieces) == first.text


@pytest.mark.parametrize(("name", "length", "samples"), [("samples", 5, 0), ("length", 0, 2)])
def test_several_texts_need_an_end(bundle: Bundle, name: str, length: int, samples: int) -> None:
    with pytest.raises(CharlmError, match=f"{name}: found 0; must be 1 or more"):
        generate_texts(bundle, TextRequest(length, GREEDY, seed=0), samples=samples)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed: found -1; must be 0 or more"),
        ({"length": -1}, "length: found -1; must be 0"),
    ],
)
def test_a_request_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        TextRequest(**{"length": 5, "sampler": GREEDY, "seed": 0, **wrong})


# Prompts


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        (Vocabulary(("a", "\n", None), end_of_text_id=2), 2),
        (Vocabulary(("a", "\n")), 1),
        (Vocabulary(("a", "b")), 0),
    ],
    ids=["end of text", "line break", "first id"],
)
def test_empty_prompt_is_read_as_an_end_of_text_a_line_break_or_the_first_id(
    vocabulary: Vocabulary, expected: int
) -> None:
    assert encode_prompt(vocabulary, "").tolist() == [expected]


def test_unknown_characters_of_a_prompt_are_left_out() -> None:
    letters = Vocabulary(("a", "b"))
    assert encode_prompt(letters, "axb").tolist() == [0, 1]
    assert encode_prompt(letters, "xyz").tolist() == [0]


# Text


@pytest.mark.parametrize("prompt", ["ab\na", "axb", ""])
def test_text_follows_the_ids_of_the_prompt(bundle: Bundle, prompt: str) -> None:
    pieces = list(generate_text(bundle, TextRequest(30, Sampler(), seed=3, prompt=prompt)))
    ids, forbidden = encode_prompt(bundle.vocabulary, prompt), [3]  # the unknown id
    expected = generate(bundle.parameters, ids, sampler=Sampler(), length=len(pieces), seed=3, forbidden=forbidden)
    assert "".join(pieces) == bundle.vocabulary.decode(np.array([*expected]))


def test_possible_beginning_of_the_stop_text_is_held_back() -> None:
    text = scripted("aaabaa", stop="aab")
    assert list(text) == ["a"]
    assert text.finish() == Sample("a", "stop text")


def test_ignored_end_of_text_becomes_a_blank_line() -> None:
    text = scripted([1, 4, 2], ignore_end=True)
    assert list(text) == ["a", "\n\n", "b"]
    assert text.finish().text == "a\n\nb"


def test_length_of_zero_has_no_end_and_takes_no_memory(bundle: Bundle) -> None:
    text = generate_text(bundle, TextRequest(0, Sampler(), seed=0, ignore_end=True))
    with memory_limit(60_000):
        assert sum(1 for _ in islice(text, 5000)) == 5000
    with pytest.raises(CharlmError, match="length=0 generates without end"):
        str(text)
