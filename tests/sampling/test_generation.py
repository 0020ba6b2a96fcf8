"""The choice of an id from logits, and the ids and the text that follow a prompt."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product

import numpy as np
import pytest
import reference
from arrays import check_close
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from limits import memory_limit
from models import random_parameters, with_tensors
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats
from charlm.sampling import generation
from charlm.sampling.generation import (
    GrowingText,
    Sample,
    TextRequest,
    choose_ids,
    generate_text,
    read_prompt,
)
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Vocabulary

PROMPT = np.array([1, 2, 0])
GREEDY = Sampler(temperature=0)


# Ids


@pytest.mark.parametrize("length", [3, 256, 258])
def test_a_prompt_is_read_from_the_zero_state_block_by_block(length: int) -> None:
    parameters, prompt = random_parameters(layers=2, scale=0.5), np.arange(length) % 5
    states = [*read_prompt(parameters, prompt)]
    for end, state in zip((256, length) if len(states) == 2 else (length,), states, strict=True):
        _, expected = reference.read(parameters, prompt[:end].tolist())
        check_close([output[0] for output in state], expected, atol=1e-5)


def generate(trained: TrainedModel, sampler: Sampler, *, length: int, seed: int = 0) -> list[int]:
    """Return the ids that follow the prompt."""
    *_, state = read_prompt(trained.parameters, PROMPT)
    return [
        index for index, _ in choose_ids(trained, state, sampler=sampler, seed=seed, length=length)
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_ids_are_chosen_by_the_seed_and_the_unknown_id_never(
    trained: TrainedModel, temperature: float
) -> None:
    sampler = Sampler(temperature=temperature)
    text, choose = PROMPT.tolist(), make_chooser(sampler)
    for uniform in np.random.default_rng([7, 0]).random(60).tolist():
        logits = reference.read(trained.parameters, text)[0][-1].astype(np.float32)
        logits[trained.vocabulary.unknown_id] = -np.inf
        text.append(choose(logits, uniform))
    assert generate(trained, sampler, length=60, seed=7) == text[3:]
    only_unknown = replace(trained, vocabulary=Vocabulary((None,), unknown_id=0))
    with pytest.raises(CharlmError, match="no character to choose"):
        generate(only_unknown, sampler, length=1)
    broken = with_tensors(trained.parameters, {"logits.bias": np.full(5, np.nan, np.float32)})
    with pytest.raises(CharlmError, match="the weights are not finite"):
        generate(replace(trained, parameters=broken), sampler, length=1)


# Prompts


def test_a_prompt_without_known_characters_is_read_as_an_end_of_text_a_line_break_or_the_first_id() -> (
    None
):
    ab = Vocabulary(("a", "b"))
    for vocabulary, prompt, expected in (
        (Vocabulary(("a", "\n", None), end_of_text_id=2), "", [2]),
        *((Vocabulary(("a", "\n")), "", [1]), (ab, "", [0]), (ab, "xyz", [0]), (ab, "axb", [0, 1])),
    ):
        assert generation.encode_prompt(vocabulary, prompt).tolist() == expected


# Text


@pytest.mark.parametrize("prompt", ["ab\na", "axb", ""])
def test_text_follows_the_ids_of_the_prompt(trained: TrainedModel, prompt: str) -> None:
    model = replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", None), unknown_id=4))
    found = generate_text(model, TextRequest(30, Sampler(), seed=3, prompt=prompt))
    *_, state = read_prompt(model.parameters, generation.encode_prompt(model.vocabulary, prompt))
    expected = [
        index for index, _ in choose_ids(model, state, sampler=Sampler(), seed=3, length=30)
    ]
    assert next(found) == model.vocabulary.characters[expected[0]]
    assert found.stopped_by is None
    assert found.finish() == Sample(model.vocabulary.decode(np.array(expected)), "length")


def test_length_of_zero_has_no_end_and_takes_no_memory_and_one_below_it_is_refused(
    trained: TrainedModel,
) -> None:
    text = generate_text(trained, TextRequest(0, Sampler(), seed=0, ignore_end=True))
    with memory_limit(60_000):
        assert sum(1 for _ in islice(text, 5000)) == 5000
    with pytest.raises(CharlmError, match="length=0 generates without end"):
        str(text)
    with pytest.raises(CharlmError, match="length: found -1; must be a whole number, from 0"):
        TextRequest(-1, GREEDY, seed=0)
    with pytest.raises(CharlmError, match="seed: found -1; must be a whole number, 0 or more"):
        TextRequest(5, GREEDY, seed=-1)


# Stop texts and the end of a text

ABC = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)


def read(ids: Sequence[int], growing: GrowingText) -> list[str]:
    """Return the chunks of a text of ids, up to its end."""
    chunks = []
    for place, index in enumerate(ids, start=1):
        chunks.append(growing.read(index, is_last=place == len(ids)))
        if growing.stopped_by:
            break
    return chunks


@given(
    text=st.text("ab", min_size=1, max_size=20),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4),
)
def test_a_text_ends_before_the_stop_text_that_is_complete_first(
    text: str, stops: list[str]
) -> None:
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    kept = text[: min(ends, default=len(text))]
    longest = max((len(stop) for stop in stops if kept.endswith(stop)), default=0)
    growing = GrowingText(ABC, stops=stops)
    assert "".join(read(ABC.encode(text).tolist(), growing)) == kept[: len(kept) - longest]
    assert growing.stopped_by == ("stop text" if ends else "length")


def test_a_stop_text_of_many_combining_marks_is_refused_before_it_is_normalized() -> None:
    with pytest.raises(CharlmError, match="more than 4,000 combining marks in a row"):
        GrowingText(ABC, stops=["a" + 1_000_000 * "\u0301"])


def test_what_may_be_the_beginning_of_a_stop_text_is_held_back() -> None:
    assert read([0, 0, 0, 1, 0], GrowingText(ABC, stops=["aab"])) == ["", "", "a", ""]
    assert read([0, 1, 2], GrowingText(ABC, stops=["abb"])) == ["", "", "abc"]
    text = generation.GeneratedText(
        iter([0, 0, 0, 1, 0, 0]), ABC, TextRequest(6, GREEDY, seed=0, stop="aab")
    )
    assert list(text) == ["a"]
    assert text.finish() == Sample("a", "stop text")


def test_an_end_of_text_id_ends_the_text_or_is_a_blank_line() -> None:
    ending, going_on = GrowingText(ABC, stops=["ab"]), GrowingText(ABC, ignore_end=True)
    assert (read([0, 4, 1], ending), ending.stopped_by) == (["", "a"], "end of text")
    assert (read([0, 4, 1], going_on), going_on.stopped_by) == (["a", "\n\n", "b"], "length")


SHARES = [0.125, 0.5, 0.125, 0.25]

samplers = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
)
some_logits = arrays(np.float32, 7, elements=st.floats(-30, 30, width=32))


GRID = (np.arange(1100) + 0.5) / 1100
"""Numbers that stand for all from 0 to 1."""


def choose(logits: Floats, sampler: Sampler, uniform: NDArray[np.float64]) -> list[int]:
    """Return the id that is chosen with each number."""
    one = make_chooser(sampler)
    return [one(logits, number) for number in uniform.tolist()]


def shares(logits: Floats, sampler: Sampler) -> NDArray[np.float64]:
    """Return how often each id is chosen."""
    return np.bincount(choose(logits, sampler, GRID), minlength=len(logits)) / len(GRID)


def logits_of(*shares: float) -> Floats:
    """Return logits whose softmax is these shares."""
    return np.log(np.array(shares, np.float32))


def test_value_out_of_range_is_refused_with_its_option() -> None:
    ranges = {
        "temperature": (-0.1, math.nan, math.inf),
        "top_k": (0,),
        "top_p": (0.0, 1.01, math.nan),
    }
    for option, values in {**ranges, "min_p": (-0.1, 1.1)}.items():
        for value in values:
            with pytest.raises(CharlmError, match=f"{option}: found {value}; must be"):
                Sampler(**{option: value})  # type: ignore[arg-type]


def test_temperature_and_filters_give_the_probabilities_computed_by_hand() -> None:
    for sampler, expected in (
        (Sampler(), SHARES),
        (Sampler(temperature=0), [0, 1, 0, 0]),
        (Sampler(temperature=0.5), [1 / 22, 16 / 22, 1 / 22, 4 / 22]),
        (Sampler(top_k=1), [0, 1, 0, 0]),
        (Sampler(top_k=2), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(top_k=3), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Sampler(top_k=100), SHARES),
        (Sampler(top_p=0.001), [0, 1, 0, 0]),
        (Sampler(top_p=0.6), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(top_p=0.8), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Sampler(top_p=1), SHARES),
        (Sampler(min_p=0), SHARES),
        (Sampler(min_p=0.3), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(min_p=1), [0, 1, 0, 0]),
        (
            Sampler(temperature=0.5, top_p=0.7),
            [0, 1, 0, 0],
        ),  # of 16/22, 4/22, ...: the temperature comes first
        (
            Sampler(top_k=2, top_p=0.6),
            [0, 2 / 3, 0, 1 / 3],
        ),  # top-p counts as without top-k, by which 2/3 were enough,
    ):
        np.testing.assert_allclose(shares(logits_of(*SHARES), sampler), expected, atol=1e-3)


def test_the_first_id_whose_cumulative_probability_exceeds_the_number_is_chosen_and_of_equals_the_lowest() -> (
    None
):
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, 0.999])
    assert choose(logits_of(*SHARES), Sampler(), uniform) == [0, 0, 1, 1, 2, 2, 3, 3]
    even = logits_of(0.25, 0.25, 0.25, 0.25)
    assert shares(even, Sampler(temperature=0)).tolist() == [1, 0, 0, 0]
    assert shares(even, Sampler(top_k=2)).tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-8, 1.0])
def test_extreme_logits_and_temperatures_do_not_overflow(temperature: float) -> None:
    sampler = Sampler(temperature=temperature)
    with np.errstate(over="ignore"):
        assert shares(np.array([-1e4, 1e4, -np.inf, 3e4], np.float32), sampler).tolist() == [
            0,
            0,
            0,
            1,
        ]
        assert shares(np.array([-3e38, 3e38, -np.inf, 0], np.float32), sampler).tolist() == [
            0,
            1,
            0,
            0,
        ]


def test_logits_that_are_not_finite_are_refused() -> None:
    for temperature, row in product(
        (0.0, 1.0), ([0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf])
    ):
        choose = make_chooser(Sampler(temperature=temperature))
        with (
            pytest.raises(CharlmError, match="the weights are not finite"),
            np.errstate(invalid="ignore"),
        ):
            choose(np.array(row, np.float32), 0.5)


@given(some_logits, samplers, st.floats(0, 1, exclude_max=True))
def test_id_of_probability_zero_is_never_chosen(
    logits: Floats, sampler: Sampler, uniform: float
) -> None:
    logits[[0, 6]] = -np.inf
    assert choose(logits, sampler, np.array([uniform]))[0] not in {0, 6}
