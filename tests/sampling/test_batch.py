"""The texts in a batch: what `generate` writes, whatever else is written beside them."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
from conftest import RandomParameters
from numpy.typing import NDArray

from charlm.evaluation.scoring import score_stream
from charlm.network.rnn import Parameters
from charlm.sampling.batch import WINDOW, Batch, Chunk, Job
from charlm.sampling.generation import generate, read_prompt
from charlm.sampling.sampler import Sampler

PROMPT = np.array([3, 1, 4, 1, 5])


@pytest.fixture
def parameters(random_parameters: RandomParameters) -> Parameters:
    """Return a network of 2 x 21 units over 9 ids."""
    return random_parameters(vocabulary_size=9, layers=2, units=21, scale=0.2, skip_connections=True)


def job(
    parameters: Parameters,
    seed: int = 0,
    *,
    prompt: Sequence[int] | NDArray[np.int64] = PROMPT,
    length: int = 10,
    sampler: Sampler | None = None,
    likeliest: int | None = None,
) -> Job:
    return Job(read_prompt(parameters, np.array(prompt)), length, sampler or Sampler(), (seed, 0), likeliest)


def finish(batch: Batch, *, every: int = 10**9) -> dict[Job, list[Chunk]]:
    """Step a batch until it is empty; return what is reported of each job."""
    reports = defaultdict(list)
    steps = 0
    while len(batch):
        batch.step()
        steps += 1
        for reported, chunk in batch.take_reports(everything=steps % every == 0):
            reports[reported].append(chunk)
    return reports


def ids_of(chunks: Sequence[Chunk]) -> list[int]:
    assert [chunk.reason is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    return [index for chunk in chunks for index in chunk.ids.tolist()]


@pytest.mark.parametrize("length", [1, WINDOW - 5, WINDOW, 3 * WINDOW + 7])
@pytest.mark.parametrize("window", [1, 7, WINDOW])
def test_a_text_is_the_one_that_generate_writes(parameters: Parameters, length: int, window: int) -> None:
    sampler = Sampler(temperature=0.8, top_p=0.9)
    expected = generate(parameters, PROMPT, sampler=sampler, length=length, seed=5)
    batch = Batch(parameters, slots=3, window=window)
    wanted = job(parameters, 5, length=length, sampler=sampler)
    batch.add(wanted)
    assert ids_of(finish(batch)[wanted]) == [*expected]


def test_a_text_among_others_that_join_and_leave_is_the_same_to_the_bit(parameters: Parameters) -> None:
    def wanted() -> Job:
        return job(parameters, 7, length=150, sampler=Sampler(top_k=6), likeliest=3)

    alone = Batch(parameters, slots=40)
    alone.add(wanted())
    (expected,) = finish(alone).values()
    batch, rng = Batch(parameters, slots=40), np.random.default_rng(0)
    others = [
        job(parameters, seed, prompt=rng.integers(0, 9, rng.integers(1, 90)), length=int(rng.integers(1, 60)))
        for seed in range(300)
    ]
    for other in others[:30]:
        batch.add(other)
    crowded, chunks, steps = wanted(), [], 0
    while crowded in batch.jobs() or steps < 33:
        if steps == 32:
            batch.add(crowded)
        if steps % 9 == 0:
            batch.remove(batch.jobs()[0] if batch.jobs()[0] is not crowded else others[0])
        while steps > 32 and len(batch) < 5 + 35 * (steps % 2):
            batch.add(others.pop())
        batch.step()
        steps += 1
        chunks += [chunk for reported, chunk in batch.take_reports(everything=steps % 13 == 0) if reported is crowded]
    for name in ("ids", "logprobs", "likeliest_ids", "likeliest_logprobs"):
        found = np.concatenate([getattr(chunk, name) for chunk in chunks])
        np.testing.assert_array_equal(found, np.concatenate([getattr(chunk, name) for chunk in expected]))


@pytest.mark.parametrize("every", [1, 3, 10**9])
def test_log_probabilities_are_those_that_evaluate_reports(parameters: Parameters, every: int) -> None:
    batch = Batch(parameters, slots=2)
    batch.add(job(parameters, 1, length=200, likeliest=2))
    batch.add(scored := job(parameters, length=200, likeliest=9))
    chunks = finish(batch, every=every)[scored]
    text = np.array([*PROMPT, *ids_of(chunks)])
    logprobs = np.concatenate([chunk.logprobs for chunk in chunks if chunk.logprobs is not None])
    nats = np.concatenate(list(score_stream(parameters, text)))
    np.testing.assert_allclose(-logprobs, nats[len(PROMPT) - 1 :], atol=1e-5)
    for chunk in chunks:
        assert chunk.likeliest_logprobs is not None
        np.testing.assert_allclose(np.exp(chunk.likeliest_logprobs).sum(-1), 1)
        assert (np.diff(chunk.likeliest_logprobs) <= 0).all()


def test_the_first_id_is_reported_as_soon_as_it_is_chosen(parameters: Parameters) -> None:
    batch = Batch(parameters, slots=2)
    batch.add(wanted := job(parameters, length=50))
    batch.step()
    ((reported, chunk),) = batch.take_reports()
    assert (reported, len(chunk.ids), chunk.reason) == (wanted, 1, None)
    batch.step()
    assert batch.take_reports() == []  # the next ids come with the end of the window, or if everything is asked for
    assert [len(chunk.ids) for _, chunk in batch.take_reports(everything=True)] == [1]


def test_a_text_ends_with_the_end_of_text_id_that_it_chooses(parameters: Parameters) -> None:
    (first,) = islice(generate(parameters, PROMPT, sampler=Sampler(), length=None, seed=0), 1)
    batch = Batch(parameters, slots=1, end_id=first)
    batch.add(wanted := job(parameters, prompt=[*PROMPT], length=9))
    (chunk,) = finish(batch)[wanted]
    assert (chunk.ids.tolist(), chunk.reason) == ([first], "end of text")


def test_forbidden_ids_are_not_chosen_and_yet_have_a_log_probability(parameters: Parameters) -> None:
    batch = Batch(parameters, slots=1, forbidden=[0, 1, 2, 3, 4, 5, 6])
    batch.add(wanted := job(parameters, prompt=[0, 1, 2], length=30, likeliest=9))
    chunks = finish(batch)[wanted]
    assert set(ids_of(chunks)) == {7, 8}
    assert all(np.isfinite(chunk.likeliest_logprobs).all() for chunk in chunks if chunk.likeliest_logprobs is not None)


def test_a_removed_text_is_reported_no_more_and_frees_its_slot(parameters: Parameters) -> None:
    batch = Batch(parameters, slots=2)
    first, second = job(parameters, 1, length=5), job(parameters, 2, length=5)
    batch.add(first)
    batch.add(second)
    assert batch.is_full
    batch.remove(first)
    assert batch.jobs() == [second]
    batch.remove(first)  # again: it has gone already
    assert set(finish(batch)) == {second}


def test_a_text_without_finite_logits_ends_and_the_others_go_on(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1.0)
    parameters.layers[0].kernel[3] = 3e38
    parameters.logits_kernel[:] *= 1e6
    batch = Batch(parameters, slots=2, lanes=2)
    with np.errstate(over="ignore", invalid="ignore"):
        batch.add(broken := job(parameters, prompt=[1, 3]))
        batch.add(sound := job(parameters, prompt=[1, 2], length=2, sampler=Sampler(temperature=0)))
        reports = finish(batch)
    assert reports[broken][-1].reason == "not finite"
    assert ids_of(reports[broken]) == []
    assert len(ids_of(reports[sound])) == 2


def test_a_length_beyond_64_bits_is_written_like_any_other(parameters: Parameters) -> None:
    batch, wanted = Batch(parameters, slots=1, window=2), job(parameters, 3, length=10**30)
    batch.add(wanted)
    for _ in range(9):
        batch.step()
    found = [index for _, chunk in batch.take_reports(everything=True) for index in chunk.ids.tolist()]
    assert found == [*generate(parameters, PROMPT, sampler=Sampler(), length=9, seed=3)]
